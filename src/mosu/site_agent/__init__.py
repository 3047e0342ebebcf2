"""What a supplier runs beside a cluster: leases attempts, starts them, meters them, reports."""
