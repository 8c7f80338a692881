"""Constants of the simulation: the planted personas, and all other numbers and names."""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("en", "uk", "ru", "sq")
LANGUAGE_SHARES = (0.25, 0.35, 0.2, 0.2)
CHANNELS = ("web", "app", "store", "email")
TYPO_SHARE = 0.12
FOLLOW_UP_DAYS = 25
"""Number of days after the last visit in which returns, contacts and emails may still occur."""


@dataclass(frozen=True)
class Persona:
    """A planted segment. Rates are means around which each customer's own rate is drawn, so personas overlap.

    Attributes
    ----------
    share : float
        Share of all customers; shares sum to 1.
    visits : float
        Mean visits per year, or in total if ``stay_days`` is set.
    first, last : (float, float)
        Ranges of the first and last active day, in days before the training date; negative values are after it. Days
        before the start of the log become its first day.
    stay_days : float
        Maximum number of days from the first to the last active day.
    spread : float
        Sigma of the lognormal distribution of visit rates, which gives them a long tail.
    chains : float
        Mean number of further interests per visit, in addition to the first.
    views : float
        Mean number of products viewed per chain.
    cart, buy : float
        Probability of adding to the cart per view, and of an order per visit with a cart.
    full_price : float
        Factor on the cart probability of products that are not on offer.
    offer_seeking, price_seeking : float
        Probability of switching to another product that is on offer, or is more expensive.
    return_chance : float
        Probability that a purchased item is returned.
    orders : int
        Maximum number of orders.
    registered : float
        Probability of a row in the customers table; other customers are guests.
    """

    name: str
    share: float
    visits: float
    first: tuple[float, float] = (520.0, 60.0)
    last: tuple[float, float] = (25.0, -30.0)
    stay_days: float = 10_000.0
    min_visits: int = 1
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
    return_chance: float = 0.05
    orders: int = 10_000
    registered: float = 0.9
    emails_per_week: float = 0.08


PERSONAS = (
    Persona("vip", 0.025, 30.0, (600.0, 120.0), (12.0, -30.0), min_visits=8, spread=0.45, chains=1.2, cart=0.28,
            buy=0.85, offer_seeking=0.0, price_seeking=0.7, return_chance=0.03, registered=0.99, emails_per_week=0.2),
    Persona("regular", 0.07, 12.0, last=(20.0, -30.0), min_visits=4, spread=0.5, cart=0.2, buy=0.75),
    Persona("new", 0.045, 26.0, (45.0, -29.0), (-20.0, -30.0), spread=0.5, cart=0.22, buy=0.7, registered=0.8),
    Persona("one_time", 0.065, 1.6, (365.0, -28.0), (0.0, -30.0), stay_days=20.0, spread=0.3, views=3.4, cart=0.5,
            buy=0.95, orders=1, registered=0.6, emails_per_week=0.02),
    Persona("bargain_hunter", 0.04, 12.0, min_visits=3, views=3.2, cart=0.33, buy=0.7, full_price=0.03,
            offer_seeking=0.75, price_seeking=0.0, emails_per_week=0.25),
    Persona("browser", 0.055, 11.0, (520.0, -10.0), spread=0.7, chains=1.0, views=3.4, favourite=0.06, cart=0.01,
            buy=0.0, registered=0.5),
    Persona("cart_abandoner", 0.04, 9.0, (520.0, -5.0), min_visits=2, cart=0.3, buy=0.04, favourite=0.05,
            registered=0.75),
    Persona("lapsed", 0.045, 12.0, (700.0, 300.0), (240.0, 148.0), min_visits=3, cart=0.2, buy=0.7),
    Persona("lost", 0.035, 22.0, (900.0, 345.0), (335.0, 270.0), min_visits=2, cart=0.2, buy=0.7),
    Persona("heavy_returner", 0.02, 12.0, min_visits=4, cart=0.26, buy=0.8, return_chance=0.5, chains=0.9),
    Persona("silent", 0.03, 0.0, (700.0, -29.0), min_visits=0, registered=1.0, emails_per_week=0.0),
    Persona("passer_by", 0.53, 1.0, (365.0, -30.0), (0.0, -30.0), stay_days=0.0, spread=0.0, chains=0.0, views=1.15,
            search=0.25, favourite=0.0, cart=0.01, buy=0.1, registered=0.07, emails_per_week=0.0),
)  # fmt: skip

VISIT_FACTORS = {"usual": 1.0, "busy": 5.0}
"""Kind of shop -> factor on the visits of returning customers. It gives about 24 or 100 events per customer."""

# Weight of each month, January first.
SEASONS = {
    "level": (1.0, 0.95, 1.0, 1.0, 1.0, 0.95, 0.9, 0.95, 1.0, 1.05, 1.15, 1.3),
    "gifts": (0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.8, 0.9, 1.0, 1.7, 2.4),
    "garden": (0.3, 0.6, 1.6, 2.4, 2.2, 1.6, 1.1, 0.8, 0.8, 0.6, 0.3, 0.3),
    "school": (0.7, 0.8, 0.8, 0.8, 0.8, 0.9, 1.2, 2.2, 1.9, 0.9, 1.0, 1.4),
    "spring": (0.6, 0.8, 1.4, 1.7, 1.5, 1.2, 0.9, 0.9, 1.1, 1.0, 1.0, 1.2),
    "autumn": (1.0, 0.8, 0.7, 0.7, 0.7, 0.6, 0.6, 0.9, 1.5, 1.8, 1.6, 1.5),
}
# Weight of each weekday, Monday first, for customers who prefer working days, then for those who prefer weekends.
WEEKDAYS = ((1.2, 1.15, 1.1, 1.1, 1.0, 0.4, 0.4), (0.35, 0.35, 0.35, 0.4, 0.8, 2.4, 2.3))
# Mean and standard deviation of the visit hour (UTC): before work, at lunch, in the evening, late at night.
DAY_PARTS = ((8.0, 1.2), (13.0, 2.0), (19.5, 1.8), (23.5, 1.4))
DAY_PART_TASTES = (0.5, 0.8, 1.2, 0.2)

# Share of products on offer in a normal week, and in sale months.
OFFER_SHARE = 0.16
SALE_MONTHS = {1: 0.3, 7: 0.3, 11: 0.38}
OFFER_DISCOUNTS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)

# Cities with weights, by the customer's language.
CITIES = {
    "en": (("London", 4), ("Berlin", 2), ("Dublin", 1), ("Warsaw", 2)),
    "uk": (("Kyiv", 5), ("Lviv", 3), ("Odesa", 2), ("Kharkiv", 2)),
    "ru": (("Riga", 3), ("Almaty", 3), ("Tallinn", 1), ("Odesa", 1)),
    "sq": (("Tirana", 5), ("Durrës", 2), ("Prishtina", 4), ("Shkodër", 1)),
}
AGE_BANDS = (("18-24", 0.16), ("25-34", 0.28), ("35-44", 0.25), ("45-54", 0.17), ("55-64", 0.09), ("65+", 0.05))
GENDERS = (("female", 0.56), ("male", 0.42), ("other", 0.02))
MISSING_SHARES = {"city": 0.08, "age_band": 0.15, "gender": 0.12}
