"""From the checked log to one profile per customer, and what is learned of the shop for it."""
