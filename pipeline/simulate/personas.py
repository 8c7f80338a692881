"""Who comes to the simulated shop, and how: the planted kinds and everything else that is a number or a name."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("en", "uk", "ru", "sq")
LANGUAGE_SHARES = (0.25, 0.35, 0.2, 0.2)
CHANNELS = ("web", "app", "store", "email")
TYPO_SHARE = 0.12
FOLLOW_UP_DAYS = 25
"""Days after the last visit within which returns, questions and letters end."""


@dataclass(frozen=True)
class Kind:
    """A planted segment. Rates are means: every customer draws one of their own around them, so that kinds overlap.

    Attributes
    ----------
    share : float
        Of all customers; shares sum to 1.
    visits : float
        Mean visits a year; in all, for a kind with a ``stay_days``.
    first, last : (float, float)
        Between which days before the training date the first and last day of activity lie; below 0: after it. What
        lies before the log's start counts as its first day.
    stay_days : float
        Days from the first to the last day at most.
    spread : float
        Sigma of the lognormal that stretches the number of visits: the long tail.
    chains : float
        Mean further interests followed in one visit, beside the first.
    views : float
        Mean products viewed a chain.
    cart, buy : float
        Chance of a cart per view, and of an order per visit with a cart.
    full_price : float
        Factor on the chance of a cart for what is not on offer.
    offer_seeking, price_seeking : float
        Chance to turn to another product where that one is on offer, or is dearer.
    back : float
        Chance that a bought item is sent back.
    orders : int
        Orders at most.
    registered : float
        Chance of a row among the customers; others are guests.
    """

    name: str
    share: float
    visits: float
    first: tuple[float, float] = (520.0, 60.0)
    last: tuple[float, float] = (25.0, -30.0)
    stay_days: float = 10_000.0
    least_visits: int = 1
    spread: float = 0.6
    chains: float = 0.7
    views: float = 2.6
    search: float = 0.33
    favourite: float = 0.03
    cart: float = 0.16
    buy: float = 0.62
    full_price: float = 1.0
    offer_seeking: float = 0.1
    price_seeking: float = 0.1
    back: float = 0.05
    orders: int = 10_000
    registered: float = 0.9
    letters_a_week: float = 0.08


KINDS = (
    Kind("vip", 0.025, 30.0, (600.0, 120.0), (12.0, -30.0), least_visits=8, spread=0.45, chains=1.2, cart=0.28,
         buy=0.85, offer_seeking=0.0, price_seeking=0.7, back=0.03, registered=0.99, letters_a_week=0.2),
    Kind("regular", 0.07, 12.0, last=(20.0, -30.0), least_visits=4, spread=0.5, cart=0.2, buy=0.75),
    Kind("new", 0.045, 26.0, (45.0, -29.0), (-20.0, -30.0), spread=0.5, cart=0.22, buy=0.7, registered=0.8),
    Kind("one_time", 0.065, 1.6, (365.0, -28.0), (0.0, -30.0), stay_days=20.0, spread=0.3, views=3.4, cart=0.5,
         buy=0.95, orders=1, registered=0.6, letters_a_week=0.02),
    Kind("bargain_hunter", 0.04, 12.0, least_visits=3, views=3.2, cart=0.33, buy=0.7, full_price=0.03,
         offer_seeking=0.75, price_seeking=0.0, letters_a_week=0.25),
    Kind("browser", 0.055, 11.0, (520.0, -10.0), spread=0.7, chains=1.0, views=3.4, favourite=0.06, cart=0.01, buy=0.0,
         registered=0.5),
    Kind("cart_abandoner", 0.04, 9.0, (520.0, -5.0), least_visits=2, cart=0.3, buy=0.04, favourite=0.05,
         registered=0.75),
    Kind("lapsed", 0.045, 12.0, (700.0, 300.0), (240.0, 148.0), least_visits=3, cart=0.2, buy=0.7),
    Kind("lost", 0.035, 22.0, (900.0, 345.0), (335.0, 270.0), least_visits=2, cart=0.2, buy=0.7),
    Kind("heavy_returner", 0.02, 12.0, least_visits=4, cart=0.26, buy=0.8, back=0.5, chains=0.9),
    Kind("silent", 0.03, 0.0, (700.0, -29.0), least_visits=0, registered=1.0, letters_a_week=0.0),
    Kind("passer_by", 0.53, 1.0, (365.0, -30.0), (0.0, -30.0), stay_days=0.0, spread=0.0, chains=0.0, views=1.15,
         search=0.25, favourite=0.0, cart=0.01, buy=0.1, registered=0.07, letters_a_week=0.0),
)  # fmt: skip

VISITS_TIMES = {"usual": 1.0, "busy": 5.0}
"""Kind of shop -> how many times as often customers who come again visit: about 24 and 100 events a customer."""

# weight of each month, January first
SEASONS = {
    "level": (1.0, 0.95, 1.0, 1.0, 1.0, 0.95, 0.9, 0.95, 1.0, 1.05, 1.15, 1.3),
    "gifts": (0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.8, 0.9, 1.0, 1.7, 2.4),
    "garden": (0.3, 0.6, 1.6, 2.4, 2.2, 1.6, 1.1, 0.8, 0.8, 0.6, 0.3, 0.3),
    "school": (0.7, 0.8, 0.8, 0.8, 0.8, 0.9, 1.2, 2.2, 1.9, 0.9, 1.0, 1.4),
    "spring": (0.6, 0.8, 1.4, 1.7, 1.5, 1.2, 0.9, 0.9, 1.1, 1.0, 1.0, 1.2),
    "autumn": (1.0, 0.8, 0.7, 0.7, 0.7, 0.6, 0.6, 0.9, 1.5, 1.8, 1.6, 1.5),
}
# weight of each weekday, Monday first, on a working customer's curve and on a weekend one's
WEEKDAYS = ((1.2, 1.15, 1.1, 1.1, 1.0, 0.4, 0.4), (0.35, 0.35, 0.35, 0.4, 0.8, 2.4, 2.3))
# hour that visits gather around and how widely, in hours, UTC: before work, at lunch, evening, late at night
DAY_PARTS = ((8.0, 1.2), (13.0, 2.0), (19.5, 1.8), (23.5, 1.4))
DAY_PART_TASTES = (0.5, 0.8, 1.2, 0.2)

# share of products on offer in an ordinary week, and in a month of sales
OFFER_SHARE = 0.16
SALE_MONTHS = {1: 0.3, 7: 0.3, 11: 0.38}
OFFER_DISCOUNTS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)

# cities by the language of those who live there, with their weights
CITIES = {
    "en": (("London", 4), ("Berlin", 2), ("Dublin", 1), ("Warsaw", 2)),
    "uk": (("Kyiv", 5), ("Lviv", 3), ("Odesa", 2), ("Kharkiv", 2)),
    "ru": (("Riga", 3), ("Almaty", 3), ("Tallinn", 1), ("Odesa", 1)),
    "sq": (("Tirana", 5), ("Durrës", 2), ("Prishtina", 4), ("Shkodër", 1)),
}
AGE_BANDS = (("18-24", 0.16), ("25-34", 0.28), ("35-44", 0.25), ("45-54", 0.17), ("55-64", 0.09), ("65+", 0.05))
GENDERS = (("female", 0.56), ("male", 0.42), ("other", 0.02))
MISSING_SHARES = {"city": 0.08, "age_band": 0.15, "gender": 0.12}
