"""Generated queries that are hard to classify, with clicks: word stems, brands and languages overlap across categories.

A query names a product type in one of four languages. Many also have a brand with several product types, a word in
another language, a model number, or a typing error. Some have only a brand or a model. A quarter of the clicks are
random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PRODUCT_TYPES: dict[str, tuple[tuple[str, ...], str]] = {
    # Category: its names in en, uk, ru and sq, and the prefix of its model numbers.
    "Phones": (("phone", "smartphone", "mobile phone", "телефон", "смартфон", "мобильный телефон", "telefon", "celular"), "sm"),
    "Phone cases": (("phone case", "case for phone", "чохол для телефону", "чехол на телефон", "këllëf telefoni"), "cs"),
    "Chargers": (("phone charger", "laptop charger", "usb cable", "зарядка для телефону", "зарядка для ноутбука", "кабель usb", "karikues telefoni"), "ch"),
    "Headphones": (("headphones", "phone headset", "earbuds", "навушники", "гарнітура для телефону", "наушники", "kufje"), "wh"),
    "Televisions": (("tv", "smart tv", "led television", "телевізор", "телевизор", "televizor"), "ue"),
    "TV stands": (("tv stand", "tv wall mount", "кронштейн для телевізора", "тумба под телевизор", "mbajtëse televizori"), "ts"),
    "Laptops": (("laptop", "gaming laptop", "notebook computer", "ноутбук", "ігровий ноутбук", "игровой ноутбук", "kompjuter portativ"), "nb"),
    "Bags": (("laptop bag", "camera bag", "backpack", "сумка для ноутбука", "рюкзак", "рюкзак для камеры", "çantë laptopi"), "bg"),
    "Stationery": (("notebook", "paper notebook", "desk organizer", "зошит", "блокнот", "тетрадь", "fletore"), "st"),
    "Cameras": (("camera", "action camera", "camera lens", "камера", "фотоапарат", "фотоаппарат", "kamera"), "dc"),
    "Lamps": (("desk lamp", "led lamp", "floor lamp", "настільна лампа", "лампа для стола", "напольная лампа", "llambë tavoline"), "lm"),
    "Desks": (("computer desk", "standing desk", "coffee table", "письмовий стіл", "компьютерный стол", "журнальный стол", "tavolinë kompjuteri"), "dk"),
    "Coffee makers": (("coffee maker", "coffee machine", "espresso machine", "кавоварка", "кавова машина", "кофеварка", "кофемашина", "makinë kafeje"), "ec"),
    "Coffee": (("coffee beans", "ground coffee", "coffee", "кава в зернах", "мелена кава", "кофе в зернах", "kafe e bluar"), "cb"),
    "Washing machines": (("washing machine", "washer dryer", "пральна машина", "стиральная машина", "makinë larëse"), "ww"),
    "Cleaning": (("washing powder", "dish washing liquid", "coffee machine cleaner", "пральний порошок", "стиральный порошок", "pluhur larës"), "cl"),
    "Toys": (("toy car", "toy phone", "cat puzzle", "іграшкова машина", "іграшковий телефон", "игрушечная машина", "makinë lodër"), "ty"),
    "Cat litter": (("cat litter", "litter", "наповнювач для котів", "наполнитель для кошек", "rërë për mace"), "kl"),
    "Cat furniture": (("cat tree", "cat bed", "cat litter box", "будинок для котів", "лежак для котів", "домик для кошек", "shtrat për mace"), "cf"),
    "Bins": (("litter bin", "kitchen bin", "pedal bin", "відро для сміття", "кухонне відро", "мусорное ведро", "kosh plehrash"), "bn"),
    "Running shoes": (("running shoes", "trail shoes", "sports shoes", "кросівки для бігу", "кроссовки для бега", "atlete për vrap"), "rs"),
    "Shoe racks": (("shoe rack", "shoe cabinet", "shoe bench", "полиця для взуття", "полка для обуви", "raft këpucësh"), "sr"),
    "Watches": (("watch", "smart watch", "running watch", "годинник", "смарт годинник", "часы", "умные часы", "orë dore"), "gw"),
    "Printers": (("printer", "laser printer", "photo printer", "принтер", "лазерний принтер", "лазерный принтер", "printer me bojë"), "lp"),
    "Ink": (("printer ink", "ink cartridge", "photo paper", "картридж для принтера", "чорнило для принтера", "чернила для принтера", "bojë printeri"), "ik"),
}  # fmt: skip
BRANDS = {
    "samsung": ("Phones", "Televisions", "Washing machines", "Watches", "Headphones", "Chargers"),
    "apple": ("Phones", "Laptops", "Watches", "Headphones", "Chargers", "Phone cases"),
    "sony": ("Headphones", "Televisions", "Cameras", "Phones"),
    "xiaomi": ("Phones", "Watches", "Lamps", "Televisions", "Bags"),
    "canon": ("Cameras", "Printers", "Ink", "Bags"),
    "philips": ("Coffee makers", "Lamps", "Televisions", "Headphones"),
    "hp": ("Laptops", "Printers", "Ink", "Bags"),
    "bosch": ("Washing machines", "Coffee makers", "Cleaning"),
    "lavazza": ("Coffee", "Coffee makers"),
    "nike": ("Running shoes", "Bags", "Watches"),
    "ikea": ("Desks", "Shoe racks", "Lamps", "TV stands", "Bins", "Stationery"),
    "trixie": ("Cat litter", "Cat furniture", "Toys"),
    "braun": ("Coffee makers", "Bins", "Watches"),
}
EXTRA_WORDS = {
    "en": ("black", "white", "cheap", "for home", "new", "small", "wireless", "for kids", "best", "gift"),
    "uk": ("чорний", "білий", "дешево", "для дому", "бездротовий", "для дітей", "купити", "великий"),
    "ru": ("черный", "белый", "недорого", "для дома", "беспроводной", "для детей", "купить", "большой"),
    "sq": ("e zezë", "e bardhë", "lirë", "për shtëpi", "pa tel", "për fëmijë"),
}
CATEGORIES = tuple(PRODUCT_TYPES)
PATHS = tuple(("Shop", name) for name in CATEGORIES)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
STRAY_SHARE, NO_CLICK_SHARE, TYPO_SHARE = 0.25, 0.3, 0.12
PRIOR_SEARCHES, MIN_SEARCHES, MIN_PROBABILITY = 2.0, 5, 0.02


@dataclass(frozen=True)
class Searches:
    """Queries learned from half of the customers, their rare queries, and unknown queries of the other half.

    Attributes
    ----------
    known, rare : lists of str
        With P(category | query) in ``probabilities`` and ``rare_probabilities``.
    unknown : list of str
        Queries of the other half that are not known; ``truth`` has their categories.
    purity : float
        Mean share of the top category in the clicks after a known query.
    """

    known: list[str]
    probabilities: np.ndarray
    rare: list[str]
    rare_probabilities: np.ndarray
    unknown: list[str]
    truth: np.ndarray
    purity: float


def hard_searches(seed: int, count: int = 40_000) -> Searches:
    """``count`` searches; every second one is by the half of the customers that the model learns from."""
    rng = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(1, len(CATEGORIES) + 1) ** 0.5
    meant = rng.choice(len(CATEGORIES), count, p=rng.permutation(popularity) / popularity.sum())
    texts = [_query(rng, int(category)) for category in meant]
    is_stray = rng.random(count) < STRAY_SHARE
    clicked = np.where(is_stray, rng.choice(meant, count), meant)
    clicked[rng.random(count) < NO_CLICK_SHARE] = -1
    is_known = np.arange(count) % 2 == 0
    return held_out(texts, clicked, meant, is_known, len(CATEGORIES))


def held_out(
    texts: list[str], clicked: np.ndarray, meant: np.ndarray, is_known: np.ndarray, n_categories: int
) -> Searches:
    """Learn from the clicks of the first half (-1: no click); the truth of other queries is their most common meaning."""
    names, place = np.unique(np.array(texts, dtype=object), return_inverse=True)
    typed, led, truth = (np.zeros((len(names), n_categories)) for _ in range(3))
    np.add.at(typed, (place[is_known], 0), 1.0)
    is_led = is_known & (clicked >= 0)
    np.add.at(led, (place[is_led], clicked[is_led]), 1.0)
    np.add.at(truth, (place, meant), 1.0)
    searches = typed[:, 0]
    probabilities = led / (searches + PRIOR_SEARCHES)[:, None]
    known = (searches >= MIN_SEARCHES) & (probabilities >= MIN_PROBABILITY).any(axis=1)
    rare = (searches < MIN_SEARCHES) & probabilities.any(axis=1)
    purity = float((led[known].max(axis=1) / led[known].sum(axis=1)).mean())
    probabilities[known] *= probabilities[known] >= MIN_PROBABILITY
    others = np.setdiff1d(place[~is_known], np.flatnonzero(known))
    return Searches(
        names[known].tolist(),
        probabilities[known],
        names[rare].tolist(),
        probabilities[rare],
        names[others].tolist(),
        truth[others].argmax(axis=1),
        purity,
    )


def _query(rng: np.random.Generator, category: int) -> str:
    names, prefix = PRODUCT_TYPES[CATEGORIES[category]]
    name = names[int(len(names) * rng.random() ** 1.3)]
    brands = [brand for brand, made in BRANDS.items() if CATEGORIES[category] in made]
    brand = [brands[int(len(brands) * rng.random() ** 1.5)]] if brands else []
    draw = rng.random()
    if draw < 0.3:
        parts = [name]
    elif draw < 0.55:
        parts = [*brand, name]
    elif draw < 0.62:
        parts = [*brand] or [name]
    elif draw < 0.7:
        parts = [*brand, f"{prefix}{LETTERS[rng.integers(3)]}{rng.integers(1, 30) * 10}"]
    else:
        words = EXTRA_WORDS[rng.choice(list(EXTRA_WORDS))]
        parts = [*(brand if rng.random() < 0.3 else []), name, words[int(len(words) * rng.random() ** 1.5)]]
    if rng.random() < 0.25:
        parts = [parts[place] for place in rng.permutation(len(parts))]
    text = " ".join(parts)
    return _mistyped(rng, text) if rng.random() < TYPO_SHARE else text


def _mistyped(rng: np.random.Generator, text: str) -> str:
    place = int(rng.integers(0, len(text) - 1))
    here, following = text[place], text[place + 1]
    swaps = (following + here, following, here + here + following)
    return " ".join((text[:place] + swaps[int(rng.integers(3))] + text[place + 2 :]).split())
