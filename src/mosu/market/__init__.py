"""The counter: shelves, offers, quotes, orders, usage, charges, receipts."""
