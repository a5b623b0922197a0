"""The site's own pages: the few texts that we wrote, so that every stage of the night has something to do.

Everything else on the site was written by others. These are articles like the rest, but each `variant` is
served in a way that real sites have and that a crawler must live with.
"""

import re
from dataclasses import dataclass
from typing import Literal

Variant = Literal["plain", "app", "mojibake", "latin1", "flaky", "near_copy", "exact_copy", "short", "empty"]


@dataclass(frozen=True)
class OwnPage:
    """One text of ours; paragraphs are parted by blank lines."""

    slug: str
    title: str
    text: str
    variant: Variant


_APP = {
    "how-a-tide-table-is-made": (
        "How a tide table is made",
        """
A tide table looks like a list of facts, but every number in it is a forecast. The sea at a harbour rises
and falls because the moon and the sun pull on the water, and because the coast, the depth of the bay and
the turning of the earth bend that pull into something local. No one works this out from the shape of the
coast alone. Instead somebody stands a gauge in the water and writes down its height every few minutes for a
year or longer.

From that year of heights a handful of regular waves can be picked out, each with its own period. The
largest comes twice in a lunar day; others repeat once a day, once a fortnight or once a month. For each
wave the harbour has a size and a delay, and those two numbers are what the year of patient measuring was
for. Once they are known, the waves can be added up for any day in the future.

Before there were computers the adding was done by a machine of brass wheels and a long wire. Each wheel
turned at the speed of one wave and lifted the wire by that wave's height, so that a pen at the end of the
wire drew the tide for a whole year in an afternoon. What the machine could not know is the weather. A week
of onshore wind still lifts the sea above the printed number, which is why a careful skipper reads the
barometer as well as the table.
""",
    ),
    "the-long-life-of-a-stone-wall": (
        "The long life of a stone wall",
        """
A dry stone wall holds no mortar, and that is the secret of its age. Mortar is stiff: when frost lifts the
ground by a finger's width a mortared wall cracks, and water then finds the crack. A dry wall simply
settles. Each stone rests on two below it and is held by the weight of those above, and when the ground
moves all of them move a little and come to rest again.

The builder begins with a trench and the largest stones. The wall is really two walls that lean towards each
other, with small stones packed between them, and every so often a long stone is laid right through to tie
the faces together. The rule that beginners hear most is to set each stone across the joint below. A joint
that runs upward through three courses is a fault that will open within a few winters.

A good wall needs no care for a generation, yet it is not left alone. Sheep push at it, walkers climb it,
and roots pry under it. Where a gap falls open the repair starts by taking down more than fell, because the
stones beside a gap have already slipped. The mender sorts the stones on the grass by size, and most of the
skill is in looking: to pick up a stone once, turn it once, and set it where it will stay for the next
hundred years.
""",
    ),
    "why-bread-goes-stale": (
        "Why bread goes stale",
        """
Most people think that stale bread is dry bread, and a loaf left open does lose water. But a loaf sealed in
a tin goes stale as well, without losing a drop. What changes is the starch. In the oven the starch grains
swell with water and lose their order; as the bread cools and rests they slowly find it again, and the crumb
turns firm. The water is still there, but it is locked away where the tongue cannot feel it.

Since the cause is order and not dryness, heat undoes it for a while. A slice held over the stove grows soft
because its starch melts once more, and that is why toast tastes fresh. The trick works only a few times,
for each warming also drives off some water that will not come back. Cold makes things worse: starch orders
itself fastest just above freezing, so the refrigerator is the worst place in the house to keep a loaf.

The freezer, on the other hand, stops the clock. Bread that is frozen on the day of baking and warmed
straight from the ice is nearly as good as new. Bakers have other means too. Rye and a sour dough hold water
longer, a little fat gets in the way of the starch, and a thick crust slows the drying. None of these keeps
a loaf for ever, and the old recipes for puddings, soups and dumplings show that nobody ever expected it to.
""",
    ),
    "notes-on-keeping-a-weather-diary": (
        "Notes on keeping a weather diary",
        """
The best weather diary is the one that is written every day, and so it should ask for little. A line is
enough: the date, the hour, the temperature outside the kitchen window, the wind by its direction and by
what it moves, the clouds, and whether it rained since the last line. Anyone can do that in a minute, and a
minute a day is a promise that can be kept for years.

Always read at the same hour. A temperature taken at seven on one day and at noon on the next tells more
about the reader's habits than about the weather. The thermometer should hang in the shade, on the north
side, away from walls that store the sun. If it must be moved, write down when and to where, because the
first thing that a later reader sees will be the jump in the numbers, and the diary is then the only
witness.

After a year the diary begins to answer questions. When did the swallows come? How late can the frost be?
Was the last spring really so wet? Memory is a poor judge here, since it keeps the storms and drops the
quiet weeks between them. After ten years the diary belongs to more people than its writer: gardeners,
builders and historians have all settled arguments with a notebook that somebody kept for no reason but the
pleasure of looking up.
""",
    ),
    "a-clock-with-one-hand": (
        "A clock with one hand",
        """
The oldest tower clocks had one hand, and nobody missed the other. The hour was divided into quarters on the
dial, and a glance at the hand told the time to within five minutes or so, which was better than the clock
itself could promise. Early clocks lost or gained a quarter of an hour in a day. A second hand on such a
clock would have been a boast, and a false one.

What changed this was the pendulum. A weight on a rod swings in nearly the same time whether the swing is
wide or narrow, and a clock that lets one tooth of a wheel pass at each swing shares that evenness. Within a
few years of the first pendulum clocks the error fell from minutes to seconds, and suddenly there was
something for a minute hand to say. Many old clocks were opened up and given a pendulum and a second hand in
the same week.

Some towns kept their single hand, out of thrift at first and later out of pride. Reading one is easily
learned. The hand halfway between three and four means half past three; a little before the half is about
twenty past. People who live with such a clock say that it makes them less hurried. That may be only a
story, but it is true that the clock never claims to know more than it does, and that is a good habit in any
instrument.
""",
    ),
    "what-the-ferry-keeper-counts": (
        "What the ferry keeper counts",
        """
There is a small ferry on our river that runs on a cable, with no engine at all. The keeper turns the boat a
little against the stream, and the current itself pushes it along the wire to the other bank. Because the
crossing costs nothing but time, the village has never put up the fare, and the keeper has little to count
but passengers. He has counted them, by hand, in the same row of ledgers, since he took over from his aunt.

The ledgers were meant for the tax office, which stopped asking for them long ago. He kept on because the
numbers had started to talk. There are two peaks in the day, and they moved apart when the school changed
its hours. Bicycles passed horses in one summer and have never looked back. On foggy days fewer people
cross, but those who do stay longer on the boat and talk, so that fog makes the ferry slower in two ways.

When an engineer came to plan a bridge, she asked the county for traffic figures, and the county had none.
The keeper lent her forty years of ledgers. In the end the bridge was built further down, where the lorries
wanted it, and the ferry was left where the walkers were. He still counts. A number that nobody needs today,
he says, is only waiting for somebody to ask the right question.
""",
    ),
}

_MOJIBAKE = {
    "the-cafe-at-the-corner": (
        "The corner cafe and its menu",
        """
The café at the corner doesn't open before nine, and that's the first thing a stranger learns about it.
René, who has run the place since his parents retired, says that coffee made in a hurry isn't worth the cup.
There's a handwritten menu on the wall with six dishes: a soup, an omelette, a purée of whatever the market
had, two cakes, and crème brûlée on Fridays.

Nobody knows when the menu was last changed. A regular once asked for a sauté of mushrooms, and René didn't
refuse; he simply said it wasn't the season, and it hasn't been the season since. The prices are the same
for everybody, which isn't as common as you'd think in a street full of visitors. Those who can't pay leave
a book instead, and the shelf behind the counter -- three rows deep by now -- is the best library in the
quarter.

What keeps people coming isn't the food, though it's good. It's that the café remembers. Order the same
thing twice and it'll be started when you walk through the door; stay away for a month and someone will ask
after your mother. It's a small thing, and it can't be written on a menu. A naïve visitor might call it
service. René calls it paying attention, and he doesn't charge for it.
""",
    ),
    "letters-from-zurich": (
        "Letters from a winter in the mountains",
        """
We arrived in Zürich on a Tuesday, and it's been snowing ever since. The train from Málaga took two days --
I'd do it again tomorrow. You can't imagine how quiet the city gets when the trams are stopped. Even the
bells of the Fraumünster sound as if they'd been wrapped in wool, and the señora who rents us the room says
she hasn't seen such a winter since she was a girl.

The days have found their order. In the morning I work at the library, where nobody speaks and everyone
nods; at noon there's soup with the other lodgers, a painter from Orléans and a young man who's writing his
thesis on the bridges of the Rhône. In the afternoon, if it's clear, we walk up the Üetliberg and look for
the Alps. They're there one day in four, which the painter says is exactly as often as they'd be worth
painting.

I don't know yet when we'll come home. There's still so much in the archive that I haven't read, and it's
warmer there than in our room. Don't send the heavy coat; Jürgen has lent me his. Send news instead -- about
the garden, about André and his déjà vu, about anything that's green. And if you're writing to Núria, tell
her that her letter reached us after all, eleven weeks late, opened by nobody and read by both of us twice.
""",
    ),
    "repairing-an-old-accordion": (
        "Repairing an old accordion",
        """
The accordion came from Señor Peña's attic, and it hadn't been played since the sixties. Its bellows were
stiff, two of the keys didn't move, and when I pressed the C a sound came out that wasn't quite any note at
all. It's a common story. An accordion isn't killed by playing; it's killed by a damp cupboard -- and this
one had spent half a century beneath a leaking roof in La Coruña.

You start by taking it apart, and you don't start without a camera. There'll be about four hundred reeds
inside, each a tongue of steel riveted to its plate, and each one has got a place where it's in tune and
three hundred and ninety-nine where it isn't. The wax that holds them turns brittle with age. I scraped it
off, melted a new mixture of beeswax and rosin in a pan -- my wife's crêpe pan, as it turned out -- and set
the plates again one row at a time.

Tuning took longer than everything else. You can't hear a reed's true pitch until it's back in the box, so
it's out and in again, a scratch with the file at the tip to raise it, at the root to lower it. After six
weeks it was done. It's not a concert instrument, and it'll never be one; but at the fête in August, when
Zoë played the first waltz on it, Señor Peña said it didn't sound a day older than he did.
""",
    ),
}

_ORIGINAL_SLUG = "how-to-sharpen-a-kitchen-knife"
_ORIGINAL_TITLE = "How to sharpen a kitchen knife"
_ORIGINAL = """
A sharp knife is a safe knife, because it goes where it is pushed. A dull one slides off the onion and into
the finger. Most knives in most kitchens are dull, and not because sharpening is hard: it is because nobody
showed the owner how little is needed. One good stone, a cup of water and a quarter of an hour will bring
back nearly any blade that has not been chipped.

Soak the stone until no more bubbles rise, and lay it on a damp cloth so that it cannot slip. Hold the knife
with its edge away from you and lift the back by about the thickness of two coins; that is close to fifteen
degrees, and it matters less which angle you choose than that you keep it. Now draw the blade over the stone
in long slow strokes, from heel to tip, with no more weight than the hand itself. After twenty strokes run a
thumb across the other side, never along it. You should feel a thin burr of metal, as long as the edge.

When the burr can be felt from end to end, turn the knife over and work on the second side until the burr
comes back to the first. Then take the fine side of the stone and make ten light strokes on each face, then
five, then one, changing sides every time. The burr grows thin and breaks away. Wipe the blade, and cut a
sheet of newspaper held by one corner. If the knife tears the paper, a spot was missed; find it, and give it
a few more strokes.

After that, leave the stone in its drawer for a month or two. A few passes over a steel before cooking will
keep the edge straight, and a wooden board will keep it whole. Never put a good knife in the dishwasher,
where it knocks against plates for an hour, and never leave it in the sink, where somebody will reach for it
without looking.
"""

# Each near copy changes a few words, as reposted articles do: about 5 % of the word trigrams.
_NEAR_COPIES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "sharpening-knives-at-home": (
        "Sharpening knives at home",
        (
            ("a quarter of an hour", "twenty minutes"),
            ("nearly any blade", "almost any blade"),
            ("newspaper", "paper"),
        ),
    ),
    "the-fifteen-minute-knife-guide": (
        "The fifteen minute knife guide",
        (
            ("into the finger", "into the thumb"),
            ("a damp cloth", "a wet towel"),
            ("a month or two", "some weeks"),
        ),
    ),
    "sharp-knives-a-short-course": (
        "Sharp knives: a short course",
        (
            ("two coins", "three coins"),
            ("ten light strokes", "eight light strokes"),
            ("the sink", "the basin"),
        ),
    ),
    "kitchen-basics-the-knife": (
        "Kitchen basics: the knife",
        (
            ("One good stone", "One decent stone"),
            ("twenty strokes", "thirty strokes"),
            ("plates", "pans and plates"),
        ),
    ),
}

_LATIN1 = """
The post office in our valley closed in the spring, and the villagers of Köniz and Saint-Étienne had to
decide what to do with the building. Some wanted a museum, others a garage. In the end it was Frau Müller,
who had sold stamps there for thirty years, who proposed to leave it exactly as it was: a counter, a bench,
a clock, and a wall of small brass doors, each with a number and a key.

Today every household has a key again. The boxes hold whatever one neighbour wants to leave for another:
seeds, a jar of jam, a borrowed book, a note for señor Ibáñez about the hedge. No letter in them has ever
carried a stamp. Since nobody pays for it, nobody can close it, and since nobody owns it, everybody sweeps
the floor. On a shelf by the door lies a thick ledger in which you may write what you took, if you took
something.

A journalist from Zürich came to see it and asked what such a thing is called. There was a long discussion.
The mayor suggested « la boîte commune », the schoolteacher had a word in Latin, and a child said it was
just the post. That name has stayed. Asked whether it would work in a city, Frau Müller thought for a while
and said that it might, provided that the city were made of villages, as most of them are.
"""

_FLAKY = """
Anyone who has lived beside a canal knows that a lock is not in a hurry. The boat glides in, the gates swing
shut behind it, and then for ten minutes nothing seems to happen at all. Water runs from the upper side
through a hole no larger than a door. The boat rises so slowly that a passenger who looks up from a book is
surprised to see the meadow at eye level, where a wet brick wall had been.

The principle is five hundred years old and needs no power but the weight of the water. The gates meet in a
shallow point that looks upstream, so that the river itself presses them together, and the harder it presses
the tighter they close. They cannot be opened while the levels differ by more than the width of a hand. That
is not a rule made by somebody; it is simply too heavy, and so the lock is safe without any warning signs.

Lock keepers become patient people, or perhaps patient people become lock keepers. A boat that arrives just
after the gates were closed has to wait for a whole cycle, and those who knock and shout wait exactly as
long as those who put the kettle on. Our keeper has a sentence for the first kind, which she says with a
smile and which holds for a good deal more than boats: the lock is busy now, but if you ask again in a
little while it will open.
"""

_SHORT = "This page is being written. Please come back later."


def _mojibake(text: str) -> str:
    """The commonest mojibake of the web: UTF-8 that was once read as cp1252, and stored again."""
    typeset = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace("--", "\N{EN DASH}")
    return typeset.encode().decode("cp1252")


def _copy(edits: tuple[tuple[str, str], ...]) -> str:
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", _ORIGINAL)  # phrases must not be cut by our own line ends
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def own_pages() -> list[OwnPage]:
    """All of them, in a fixed order; the site sorts them in among the others."""
    pages = [OwnPage(slug, title, text, "app") for slug, (title, text) in _APP.items()]
    pages += [OwnPage(slug, title, _mojibake(text), "mojibake") for slug, (title, text) in _MOJIBAKE.items()]
    pages.append(OwnPage(_ORIGINAL_SLUG, _ORIGINAL_TITLE, _ORIGINAL, "plain"))
    pages += [OwnPage(slug, title, _copy(edits), "near_copy") for slug, (title, edits) in _NEAR_COPIES.items()]
    pages.append(OwnPage("reprint-kitchen-knife", _ORIGINAL_TITLE, _ORIGINAL, "exact_copy"))
    pages.append(OwnPage("the-post-office-that-stayed", "The post office that stayed", _LATIN1, "latin1"))
    pages.append(OwnPage("the-patience-of-a-lock", "The patience of a lock", _FLAKY, "flaky"))
    pages.append(OwnPage("coming-soon", "Coming soon", _SHORT, "short"))
    pages.append(OwnPage("an-empty-page", "An empty page", "", "empty"))
    return pages
