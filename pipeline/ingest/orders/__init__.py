"""What rows of one order say about each other: customers, totals, discounts, refunds, statuses and currencies."""
