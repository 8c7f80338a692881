"""A simulated shop with planted segments, for the demo and the tests. The true persona of each customer is recorded.

    catalogue.yaml, personas    data: categories and search words; personas and their habits
    catalogue, queries          seed -> products with prices and offers; query texts with their meaning
    calendar, customers         a batch of customers: persona, interests, habits, first and last day
    visits                      customers -> visits -> chains of one interest -> steps (a search or a view)
    events                      steps -> events: favourites, carts, orders, returns, contacts, emails
    log                         events -> a file, with some rows corrupted on purpose
    shop, folders               write the whole shop into a folder, chunk by chunk

Customers are drawn in chunks. Each chunk has its own random stream and its own file, so memory use does not grow with
the number of events, and the same seed gives the same bytes.
"""

from pipeline.simulate.shop import SimulatedShop, simulate

__all__ = ["SimulatedShop", "simulate"]
