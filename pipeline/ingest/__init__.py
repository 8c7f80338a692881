"""The user's files -> checked events, products and customers; what is set aside is counted."""
