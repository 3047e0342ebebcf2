"""From posting to policy: what stands behind an order, and whether it holds."""
