from tests.site_agent.fixtures import environment, folder, lab, shelf

__all__ = ["environment", "folder", "lab", "shelf"]
