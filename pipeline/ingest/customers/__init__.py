"""Who a customer is: ids, identities, exclusions and forgotten customers; and their contacts."""
