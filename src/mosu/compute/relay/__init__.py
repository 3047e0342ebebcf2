"""The relay: joins people's connections with the tunnels of site agents. One process, its own port, no pages."""
