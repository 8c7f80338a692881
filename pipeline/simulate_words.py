"""What the simulated shop sells, and the words its customers search with, in four languages."""

from __future__ import annotations

# second level -> (root, leaves, mean price in the shop's currency, month of the season's peak or 0)
CATALOGUE: dict[str, tuple[str, tuple[str, ...], float, int]] = {
    "Cats": ("Pets", ("Food", "Litter", "Toys", "Care"), 14.0, 0),
    "Dogs": ("Pets", ("Food", "Leads", "Toys", "Care"), 18.0, 0),
    "Birds": ("Pets", ("Seed", "Cages", "Perches"), 12.0, 0),
    "Fish": ("Pets", ("Tanks", "Filters", "Food"), 22.0, 0),
    "Small animals": ("Pets", ("Hay", "Hutches", "Food"), 11.0, 0),
    "Kitchen": ("Home", ("Pans", "Knives", "Mugs", "Storage"), 24.0, 12),
    "Bedroom": ("Home", ("Sheets", "Pillows", "Blankets"), 35.0, 11),
    "Lighting": ("Home", ("Lamps", "Bulbs", "Candles"), 20.0, 12),
    "Phones": ("Electronics", ("Smartphones", "Cases", "Chargers"), 120.0, 11),
    "Audio": ("Electronics", ("Headphones", "Speakers", "Cables"), 60.0, 12),
    "Computers": ("Electronics", ("Laptops", "Mice", "Keyboards"), 160.0, 9),
    "Women": ("Clothing", ("Dresses", "Shoes", "Coats"), 45.0, 4),
    "Men": ("Clothing", ("Shirts", "Shoes", "Jackets"), 42.0, 10),
    "Children": ("Clothing", ("Sets", "Shoes", "Hats"), 22.0, 8),
    "Skin care": ("Beauty", ("Creams", "Masks", "Sun care"), 19.0, 6),
    "Perfume": ("Beauty", ("For her", "For him"), 55.0, 12),
    "Plants": ("Garden", ("Seeds", "Bulbs", "Pots"), 9.0, 4),
    "Tools": ("Garden", ("Spades", "Hoses", "Gloves"), 16.0, 5),
}

LANGUAGES = ("en", "uk", "ru", "sq")

# second level -> words by language, in the order of LANGUAGES
WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Cats": (
        ("cat food", "cat litter", "kitten toy"),
        ("корм для котів", "наповнювач", "іграшка для кота"),
        ("корм для кошек", "наполнитель", "когтеточка"),
        ("ushqim për mace", "rërë për mace", "lodra për mace"),
    ),
    "Dogs": (
        ("dog food", "dog lead", "puppy"),
        ("корм для собак", "повідець", "цуценя"),
        ("корм для собак сухой", "поводок", "щенок"),
        ("ushqim për qen", "zinxhir për qen", "këlysh"),
    ),
    "Birds": (
        ("bird cage", "bird seed"),
        ("клітка для папуги", "корм для птахів"),
        ("клетка для попугая", "корм для птиц"),
        ("kafaz zogjsh", "fara për zogj"),
    ),
    "Fish": (
        ("fish tank", "aquarium filter"),
        ("акваріум", "фільтр для акваріума"),
        ("аквариум", "фильтр для аквариума"),
        ("akuarium", "filtër akuariumi"),
    ),
    "Small animals": (
        ("rabbit hay", "hamster cage"),
        ("сіно для кролика", "клітка для хом'яка"),
        ("сено для кролика", "клетка для хомяка"),
        ("sanë për lepuj", "kafaz hamsteri"),
    ),
    "Kitchen": (
        ("frying pan", "kitchen knife", "mug"),
        ("сковорідка", "кухонний ніж", "чашка"),
        ("сковорода", "кухонный нож", "кружка"),
        ("tigan", "thikë kuzhine", "filxhan"),
    ),
    "Bedroom": (
        ("bed sheets", "pillow", "blanket"),
        ("постільна білизна", "подушка пухова", "ковдра"),
        ("постельное бельё", "подушка", "одеяло"),
        ("çarçafë", "jastëk", "batanije"),
    ),
    "Lighting": (
        ("table lamp", "candles"),
        ("настільна лампа", "свічки"),
        ("настольная лампа", "свечи"),
        ("llambë tavoline", "qirinj"),
    ),
    "Phones": (
        ("phone case", "smartphone", "charger"),
        ("чохол для телефону", "смартфон", "зарядка для телефону"),
        ("чехол для телефона", "смартфон недорого", "зарядное устройство"),
        ("këllëf telefoni", "telefon", "karikues"),
    ),
    "Audio": (
        ("headphones", "bluetooth speaker"),
        ("навушники", "колонка bluetooth"),
        ("наушники", "колонка"),
        ("kufje", "altoparlant"),
    ),
    "Computers": (
        ("laptop", "wireless mouse"),
        ("ноутбук ігровий", "бездротова миша"),
        ("ноутбук", "беспроводная мышь"),
        ("laptop i lirë", "maus pa tel"),
    ),
    "Women": (
        ("summer dress", "women shoes"),
        ("сукня", "жіночі туфлі"),
        ("платье", "женские туфли"),
        ("fustan", "këpucë për femra"),
    ),
    "Men": (
        ("men shirt", "winter jacket"),
        ("чоловіча сорочка", "зимова куртка"),
        ("мужская рубашка", "зимняя куртка"),
        ("këmishë për meshkuj", "xhaketë dimri"),
    ),
    "Children": (
        ("kids shoes", "baby set"),
        ("дитяче взуття", "шапка дитяча"),
        ("детская обувь", "шапка детская"),
        ("këpucë për fëmijë", "kapelë për fëmijë"),
    ),
    "Skin care": (
        ("face cream", "sunscreen"),
        ("крем для обличчя", "сонцезахисний крем"),
        ("крем для лица", "солнцезащитный крем"),
        ("krem fytyre", "krem dielli"),
    ),
    "Perfume": (
        ("perfume", "eau de toilette"),
        ("парфуми", "туалетна вода"),
        ("духи", "туалетная вода"),
        ("parfum", "parfum për meshkuj"),
    ),
    "Plants": (
        ("flower seeds", "plant pot"),
        ("насіння квітів", "горщик для квітів"),
        ("семена цветов", "горшок для цветов"),
        ("fara lulesh", "vazo për lule"),
    ),
    "Tools": (
        ("garden hose", "spade"),
        ("садовий шланг", "лопата садова"),
        ("садовый шланг", "лопата"),
        ("zorrë kopshti", "lopatë"),
    ),
}
# words that mean nothing in particular
VAGUE = (("gift", "sale", "new"), ("подарунок", "знижки"), ("подарок", "скидки"), ("dhuratë", "zbritje"))

CITIES = ("Kyiv", "Lviv", "Odesa", "Tirana", "Durrës", "Pristina", "Riga", "London", "Berlin", "Warsaw")
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55+")
CHANNELS = ("web", "app", "store")
