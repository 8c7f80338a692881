"""A shop with planted segments, for the demo and the tests: what each customer is, is written down as truth.

    catalogue.yaml, personas    data: what is sold and searched for, who comes and how
    catalogue, queries          a seed -> products with prices and offers; texts with their meaning
    calendar, customers         a chunk of customers: their kind, interests, habits, first and last day
    visits                      customers -> visits -> chains of one interest -> steps (a search or a view)
    events                      steps -> events: favourites, carts, orders, returns, contacts, letters
    log                         events -> a file, some rows spoilt on purpose
    shop, folders               the whole, chunk by chunk, into a folder

Customers are drawn in chunks, each from a random stream of its own and written to a file of its own, so that a hundred
million events take no more memory than one chunk, and the same seed gives the same bytes.
"""

from pipeline.simulate.shop import SimulatedShop, simulate

__all__ = ["SimulatedShop", "simulate"]
