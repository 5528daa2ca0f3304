"""A seeded grammar for short children's stories: the only training text of the tiny model.

Every story picks its cast, place and thing once and then refers back to them, so names, pronouns, places and
objects agree from the first sentence to the last. The hero and the friend never share a pronoun, so "he" and
"she" are never ambiguous. Run the file to print a few stories: ``python grammar.py --count 5 --seed 1``.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass

NAMES = {"he": "Tom Ben Max Sam Tim Jack Leo Finn".split(), "she": "Lily Mia Anna Sue Emma Rose Jane Lucy".split()}
PET_NAMES = {"he": "Pip Rusty Bobo Gus".split(), "she": "Daisy Coco Luna Bella".split()}
ANIMALS = "fox bear rabbit mouse duck frog owl cat dog bird pig turtle squirrel goat".split()
PETS = {"dog": "barked", "cat": "meowed"}
TRAITS = "little little little small kind brave happy clever shy".split()
COLOURS = "red blue green yellow shiny new old".split()
THINGS = "ball kite hat book drum key bell scarf basket coin doll boat".split()
FOODS = "apple cake cookie pear carrot pie peach bun".split()
# Place: (where one is, where something can be hidden there)
PLACES = {
    "park": ("in", ["under a bench", "behind a tree", "near the swing"]),
    "forest": ("in", ["behind a tree", "under some leaves", "inside a log"]),
    "garden": ("in", ["under a bush", "behind the flowers", "near the gate"]),
    "beach": ("on", ["in the sand", "behind a rock", "under a shell"]),
    "river": ("by", ["behind a rock", "in the tall grass", "under the bridge"]),
    "farm": ("on", ["in the hay", "behind the barn", "near the gate"]),
    "hill": ("on", ["behind a rock", "in the tall grass", "under a tree"]),
    "lake": ("by", ["behind a rock", "in the tall grass", "under a boat"]),
    "meadow": ("in", ["in the tall grass", "behind the flowers", "under a bush"]),
}


@dataclass
class Who:
    """A character: how to introduce it, how to name it afterwards, and its pronouns."""

    intro: str
    name: str
    he: str

    @property
    def him(self) -> str:
        return {"he": "him", "she": "her"}[self.he]

    @property
    def his(self) -> str:
        return {"he": "his", "she": "her"}[self.he]


def a(noun: str) -> str:
    """Put the right indefinite article before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def up(text: str) -> str:
    """Capitalise the first letter of a sentence."""
    return text[0].upper() + text[1:]


class Story:
    """One story: a cast, a place and a thing, told by one of the plots below."""

    def __init__(self, rng: random.Random):
        self.pick = rng.choice
        he, she = rng.sample(["he", "she"], 2)
        self.kinds = rng.sample(ANIMALS, 3)
        is_child = rng.random() < 0.5
        self.hero = self.child(he) if is_child else self.animal(he, self.kinds[0])
        self.friend = self.child(she) if is_child and rng.random() < 0.5 else self.animal(she, self.kinds[1])
        self.place = self.pick(list(PLACES))
        at, spots = PLACES[self.place]
        self.at, self.spots = f"{at} the {self.place}", rng.sample(spots, 2)
        self.thing, self.food = self.pick(THINGS), self.pick(FOODS)
        self.colour = self.pick(COLOURS)
        self.pet = self.pick(list(PETS)) if is_child and rng.random() < 0.5 else None

    def child(self, he: str) -> Who:
        name = self.pick(NAMES[he])
        return Who(f"{a(self.pick(TRAITS))} {'boy' if he == 'he' else 'girl'} named {name}", name, he)

    def animal(self, he: str, kind: str) -> Who:
        intro, name = a(f"{self.pick(TRAITS)} {kind}"), self.pick(PET_NAMES[he])
        return self.pick([Who(f"{intro} named {name}", name, he), Who(intro, f"the {kind}", he)])

    def tell(self) -> str:
        """Return the text of the story."""
        if self.pet:
            plots = [self.pet_finds, self.pet_runs]
        else:
            plots = [self.lost, self.rescue, self.rain, self.share, self.build, self.noise, self.hide, self.gift]
        sentences = self.pick(plots)()
        return " ".join(up(s) for s in sentences)

    def opening(self) -> list[str]:
        """Introduce the hero and send the hero to the place."""
        h, went = self.hero, self.pick(["went", "walked", "ran"])
        intro = self.pick(["Once upon a time, there was {}", "Once upon a time, there was {}", "There was once {}"])
        if self.pick([True, True, False]):
            out = [intro.format(h.intro) + "."]
            out += self.pick([[], [f"{h.he} liked to play {self.at}."], [f"{h.he} lived near the {self.place}."]])
            when = self.pick(["One day,", "One sunny day,", "One morning,"])
            return out + [f"{when} {h.name} {went} to the {self.place}."]
        went_or_was = self.pick([f"{went} to the {self.place}", f"was walking {self.at}", f"sat {self.at}"])
        return [f"One day, {h.intro} {went_or_was}."]

    def say(self, who: Who, words: str) -> str:
        """Let someone say something, given with its closing punctuation."""
        verb = self.pick({"?": ["asked"], "!": ["said", "cried"], ".": ["said"]}[words[-1]])
        quoted = words[:-1] + "," if words.endswith(".") else words
        return f'"{quoted}" {verb} {who.name}.'

    def ending(self, other: str) -> list[str]:
        """Close a story that has a hero and one other character."""
        h = self.hero
        return [
            self.pick(
                [
                    f"{h.name} and {other} were very happy.",
                    f"From that day on, {h.name} and {other} were best friends.",
                    f"Then {h.name} and {other} went home together.",
                    f"{h.name} and {other} played until the sun went down.",
                ]
            )
        ]

    def meet(self) -> str:
        return f"There {self.pick([self.hero.he, self.hero.he, self.hero.name])} met {self.friend.intro}."

    def lost(self) -> list[str]:
        h, f, t = self.hero, self.friend, self.thing
        return [
            *self.opening(),
            f"{h.he} had {a(self.colour)} {t}, but {self.pick(['now it was gone', f'{h.he} lost it'])}.",
            self.pick([f"{h.name} was very sad.", f"{h.name} began to cry."]),
            self.meet(),
            self.say(f, self.pick([f"I will help you find your {t}.", f"Let us look for your {t}!"])),
            f"They looked {self.spots[0]}, but it was not there.",
            f"Then {f.name} looked {self.spots[1]} and found the {self.colour} {t}!",
            *self.pick([[self.say(h, "Thank you!")], [f"{h.name} gave {f.him} a big hug."]]),
            *self.ending(f.name),
        ]

    def rescue(self) -> list[str]:
        h, kind = self.hero, self.kinds[2]
        stuck, act = self.pick(
            [
                ("was stuck in the mud", "pulled and pulled until the {} was free"),
                ("was very hungry", f"gave the {{}} {a(self.food)} to eat"),
                ("was cold and wet", "put a warm blanket on the {}"),
                ("had a hurt leg", "took good care of the {}"),
                ("was lost", "helped the {} find the way home"),
            ]
        )
        return [
            *self.opening(),
            f"{h.he} saw a {self.pick(['little', 'small'])} {kind} {self.spots[0]}.",
            f"The {kind} {stuck}.",
            self.say(h, self.pick(["Do not be afraid.", "I will help you!", "Can I help you?"])),
            f"{h.name} {act.format(kind)}.",
            self.pick([f"The {kind} was so happy.", f'"Thank you, you are very kind," said the {kind}.']),
            *self.ending(f"the {kind}"),
        ]

    def rain(self) -> list[str]:
        h, f = self.hero, self.friend
        cover = self.pick(["a big tree", "a big bush", "a big leaf"])
        return [
            *self.opening(),
            self.meet(),
            f"They played {self.pick(['in the sun', 'a fun game', 'all morning'])}, but then it began to rain.",
            self.say(f, self.pick(["Oh no, we will get wet!", "Quick, come with me!", "What can we do?"])),
            f"{h.name} and {f.name} ran and sat under {cover}.",
            f"{h.he} {self.pick(['sang a song', 'told a funny story'])}, and {f.name} laughed.",
            f"Soon the rain stopped, and they saw a {self.pick(['big rainbow', 'bright rainbow'])} in the sky.",
            *self.ending(f.name),
        ]

    def share(self) -> list[str]:
        h, f, food = self.hero, self.friend, self.food
        return [
            *self.opening(),
            f"{h.he} had {a(food)} to eat.",
            self.meet(),
            self.say(f, f"I am so hungry, can I have some of your {food}?"),
            *self.pick([[f"At first {h.name} did not want to share.", f"But {f.name} looked very sad."], []]),
            f"So {h.name} gave half of the {food} to {f.name}.",
            self.pick([self.say(f, "Thank you, you are a good friend!"), f"{f.name} smiled and ate it all."]),
            self.pick([f"{h.name} learned that it is good to share.", *self.ending(f.name)]),
        ]

    def build(self) -> list[str]:
        h, f = self.hero, self.friend
        made, fail, works = self.pick(
            [
                ("kite", "the kite fell to the ground", "flew high in the sky"),
                ("boat", "the boat sank in the water", "sailed on the water"),
                ("tower", "the tower fell down", "was very tall"),
                ("house", "the wind blew the house away", "was strong and warm"),
            ]
        )
        return [
            *self.opening(),
            f"{h.he} wanted to make a {self.pick(['big', 'little'])} {made}.",
            f"{h.name} worked hard, but {fail}.",
            self.meet(),
            self.say(f, self.pick(["Do not give up.", "Try again!", "We can do it together!"])),
            f"So {h.name} and {f.name} made a new {made}.",
            f"This time the {made} {works}.",
            self.pick([f"{h.name} was very proud.", *self.ending(f.name)]),
        ]

    def noise(self) -> list[str]:
        h, f = self.hero, self.friend
        return [
            *self.opening(),
            f"It got dark, and {h.he} heard a {self.pick(['loud', 'strange', 'scary'])} noise {self.spots[0]}.",
            f"{h.name} was {self.pick(['very scared', 'afraid'])}.",
            self.say(h, self.pick(["Who is there?", "What is that?"])),
            f"It was only {f.intro}!",
            self.say(f, self.pick(["I am lost, can you help me?", "Do not be afraid, I want to be your friend."])),
            f"{h.name} {self.pick(['smiled', 'laughed'])} and was not scared any more.",
            *self.ending(f.name),
        ]

    def hide(self) -> list[str]:
        h, f = self.hero, self.friend
        return [
            *self.opening(),
            self.meet(),
            self.say(f, self.pick(["Let us play hide and seek!", "Do you want to play hide and seek?"])),
            f"{h.name} closed {h.his} eyes and counted to ten.",
            f"{f.name} hid {self.spots[0]}.",
            f"{h.he} looked {self.spots[1]}, but {f.name} was not there.",
            f"Then {h.he} looked {self.spots[0]}.",
            self.say(h, self.pick(["I found you!", "There you are!"])),
            *self.ending(f.name),
        ]

    def gift(self) -> list[str]:
        h, f, t = self.hero, self.friend, f"{self.colour} {self.thing}"
        return [
            *self.opening(),
            f"{h.he} found {a(t)} {self.spots[0]}.",
            self.pick(
                [self.say(h, f"What a nice {self.thing}!"), f"{h.name} had never seen such a nice {self.thing}."]
            ),
            f"Then {h.he} met {f.intro}.",
            self.say(f, self.pick(["Today is my birthday, but I have no gift.", "I am sad, I have no toys."])),
            f"{h.name} gave {f.him} the {t}.",
            self.say(f, self.pick([f"I love this {self.thing}!", "Thank you, I love it!"])),
            *self.ending(f.name),
        ]

    def pet_opening(self) -> list[str]:
        """Introduce a child with a pet; both go to the place."""
        h, pet = self.hero, self.pet
        went = self.pick(["went", "walked", "ran"])
        both = f"{h.name} and {h.his} {pet}"
        return self.pick(
            [
                [f"{both} {went} to the {self.place}."],
                [f"One day, {both} {went} to the {self.place}."],
                [f"Once upon a time, there was {h.intro}.", f"One day, {both} {went} to the {self.place}."],
                [f"{both} lived near the {self.place}.", f"One morning, they {went} to the {self.place}."],
            ]
        )

    def pet_finds(self) -> list[str]:
        h, pet, t = self.hero, self.pet, f"{self.colour} {self.thing}"
        return [
            *self.pet_opening(),
            f"The {pet} {PETS[pet]} and ran to something {self.spots[0]}.",
            self.say(h, self.pick([f"What is it, little {pet}?", "What did you find?"])),
            f"It was {a(t)}!",
            f"{h.name} {self.pick(['picked up', 'took'])} the {self.thing} and smiled.",
            self.say(h, self.pick([f"You are a very good {pet}!", f"Good {pet}!"])),
            *self.ending(f"the {pet}"),
        ]

    def pet_runs(self) -> list[str]:
        h, pet = self.hero, self.pet
        return [
            *self.pet_opening(),
            f"The {pet} saw a {self.pick(['butterfly', 'bird', 'squirrel'])} and ran away.",
            self.say(h, self.pick(["Come back!", "Where are you?"])),
            f"{h.he} looked {self.spots[0]}, but the {pet} was not there.",
            f"Then {h.he} heard a noise {self.spots[1]}.",
            f"The {pet} {PETS[pet]} and jumped into {h.his} arms.",
            *self.pick([[], [f"{h.name} gave the {pet} a big hug."]]),
            *self.ending(f"the {pet}"),
        ]


def stories(seed: int) -> Iterator[str]:
    """Yield stories for ever; the same seed always gives the same stories."""
    rng = random.Random(seed)
    while True:
        yield Story(rng).tell()


def main() -> None:
    parser = argparse.ArgumentParser(description="Print stories from the grammar.")
    parser.add_argument("--count", type=int, default=5, help="how many stories (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default %(default)s)")
    args = parser.parse_args()
    for _, text in zip(range(args.count), stories(args.seed), strict=False):
        print(text, end="\n\n")


if __name__ == "__main__":
    main()
