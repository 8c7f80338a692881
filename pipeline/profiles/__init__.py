"""From the checked log to one profile per customer, and the shop model that profiles need."""
