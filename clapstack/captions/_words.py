"""Word lists for captions, and verb forms.

Made for captions of sounds, because taggers trained on news mistake their verbs for
plural nouns ("a car decelerates and skids", "a frog croaks"). An unlisted word counts
as a noun, so that in doubt its clause is not split.
"""

from __future__ import annotations

__all__ = [
    "ADJECTIVES",
    "ADVERBS",
    "ANIMALS",
    "AUXILIARIES",
    "BEGINNINGS",
    "CALLS",
    "DETERMINERS",
    "EVENTS",
    "NEED_OBJECT",
    "NOISES",
    "NOT_HE",
    "NOT_SHE",
    "PEOPLE",
    "PLURAL_DETERMINERS",
    "PREPOSITIONS",
    "PRONOUNS",
    "RELATIVES",
    "SILENCE",
    "TAKE_OBJECT",
    "TIMES",
    "is_adverb",
    "is_gerund",
    "is_plural",
    "verb_form",
    "verb_of_gerund",
]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


PLURAL_DETERMINERS = _set(
    "some several many multiple various few two three four five six both all more "
    "most other numerous"
)
DETERMINERS = PLURAL_DETERMINERS | _set(
    "a an the another one each every any no his her its their this that these those "
    "someone's"
)
PREPOSITIONS = _set(
    "about above across against along among around at behind below beneath beside "
    "between beyond by down for from in inside into like near of off on onto out "
    "outside over past than through throughout to toward towards under underneath up "
    "upon via within without"
)
PRONOUNS = _set("it he she they")
RELATIVES = _set("who which that whose")
AUXILIARIES = _set("is are was were be been being am has have had")
TIMES = _set("second seconds moment moments minute minutes time times while pause")
SILENCE = _set("silence silent quiet quietness")
ADVERBS = _set(
    "again also away together once twice thrice nearby outside inside aloud hard fast "
    "afterwards afterward later soon simultaneously still just even very quite really "
    "too first continuously out up down off over back forth along by then almost now "
    "only slightly somewhat sometimes repeatedly meanwhile ahead apart indoors "
    "outdoors overhead underwater upstairs downstairs throughout around "
    "intermittently constantly eventually finally suddenly faster slower"
)
ADJECTIVES = _set(
    "loud louder soft softer quiet faint fainter distant nearby close brief short "
    "long continuous constant repeated repetitive repeating rapid quick fast slow "
    "steady heavy light gentle strong hard high higher low lower pitched deep sharp "
    "shrill dull muffled muted distorted hollow metallic mechanical electronic "
    "electric digital large small big little tiny huge young old older elderly adult "
    "wet dry hot cold wooden rough smooth harsh bright dark eerie strange odd weird "
    "single double multiple several some more other different similar various foreign "
    "musical intermittent occasional sporadic frequent sudden moderate medium extreme "
    "intense clear unclear indistinct indistinguishable indiscernible audible "
    "inaudible natural human male female excited happy angry sad suspenseful dramatic "
    "upbeat energetic calm white ambient excessive random new same final initial last "
    "first second third additional further subsequent open closed empty full idle "
    "high-pitched low-pitched powerful thin thick squeaky raspy static-y rhythmic "
    "solid vehicular industrial domestic outdoor indoor windy slight noisy tribal "
    "racing black white grey gray red green blue yellow brown"
)
PEOPLE = _set(
    "man men woman women person people boy boys girl girls child children kid kids "
    "baby babies infant infants toddler toddlers male males female females adult "
    "adults lady ladies guy guys someone somebody anyone everyone crowd crowds "
    "audience audiences speaker speakers announcer announcers reporter reporters "
    "human humans teen teens teenager teenagers youth singer singers mother father "
    "mom dad individual individuals choir voice voices narrator commentator player "
    "players worker workers driver drivers soldier soldiers student students friend "
    "friends"
)
# Nouns that "he" or "she" cannot refer to.
NOT_HE = _set("woman women female females girl girls lady ladies mother mom")
NOT_SHE = _set("man men male males boy boys guy guys father dad")
ANIMALS = _set(
    "dog dogs cat cats bird birds duck ducks goose geese chicken chickens rooster "
    "roosters hen hens pigeon pigeons crow crows owl owls parrot parrots goat goats "
    "sheep lamb lambs cow cows bull pig pigs horse horses donkey mule frog frogs toad "
    "toads insect insects cricket crickets bee bees fly flies wasp mosquito cicada "
    "cicadas puppy puppies kitten kittens mouse mice rat rats monkey monkeys lion "
    "lions tiger wolf wolves bear elephant whale dolphin seal snake turkey turkeys "
    "animal animals gull gulls seagull seagulls"
)
# Nouns that name a sound and need no verb.
EVENTS = _set(
    "sound sounds noise noises speech music song songs tune tunes melody melodies "
    "laughter laugh laughs applause cheer cheers gunfire gunshot gunshots shot shots "
    "explosion explosions blast blasts burst bursts bang bangs thud thuds thump "
    "thumps boom booms pop pops click clicks clack clacks clank clanks clang clangs "
    "clink clinks clatter rattle rattles beep beeps bleep bleeps blip blips buzz "
    "buzzes hum hums drone rumble rumbles hiss hisses whoosh whooshes swoosh swooshes "
    "whistle whistles siren sirens alarm alarms horn horns honk honks bell bells "
    "chime chimes ring rings tone tones bark barks meow meows growl growls howl howls "
    "chirp chirps tweet tweets quack quacks oink oinks bleat bleats moo moos neigh "
    "neighs croak croaks hoot hoots squawk squawks squeal squeals screech screeches "
    "squeak squeaks creak creaks scream screams shout shouts yell yells cry cries "
    "cough coughs sneeze sneezes sniff sniffs snore snores burp burps belch belches "
    "sigh sighs groan groans moan moans gasp gasps grunt grunts giggle giggles "
    "chuckle chuckles whisper whispers murmur murmurs chatter conversation "
    "conversations talk monologue dialogue commentary voice-over wind winds rain "
    "thunder storm traffic static footsteps footstep steps knock knocks tap taps "
    "crash crashes crack cracks crackle crackles snap snaps splash splashes drip "
    "drips trickle gurgle sizzle fireworks firecrackers waves vibration vibrations "
    "revs rustle rustles scrape scrapes scratch scratches ding dings ping pings "
    "jingle jingles echo echoes slam slams clap claps ticks tick tick-tock roar roars "
    "whine whines whimper whimpers wail wails silence heartbeat ambience drumbeat "
    "drumbeats beat beats breath breaths hoofbeats clip-clops clip-clop clops "
    "thunderclap toot toots vocals rap gobble effect effects harmonics chord chords "
    "voices rainfall outcry leaves hit hits"
)

# Verbs, in base form. Living beings make calls, things make noises.
CALLS = _set(
    "speak talk laugh giggle chuckle cry weep sob scream shout yell sing whisper "
    "murmur mumble mutter chatter converse chat cheer applaud cough sneeze sniff "
    "sniffle snore burp belch breathe gasp sigh groan moan grunt whine whimper bark "
    "howl growl yip yap meow purr chirp tweet caw coo cluck quack oink bleat baa moo "
    "neigh croak hoot squawk gobble snort pant narrate announce vocalize communicate "
    "respond reply answer ask say argue exclaim yawn hiccup chew eat drink slurp "
    "swallow lick babble joke chant pray preach lecture discuss scold boo snarl trill "
    "warble cackle inhale exhale wheeze shriek call bray cheep whinny heave"
)
NOISES = _set(
    "rustle click clink clank clang clatter rattle tick ticktock tick-tock tap bang "
    "knock thump thud bump buzz whir whirr beep bleep jingle crackle creak squeak "
    "scrape scrap crumple crinkle sizzle drip trickle gurgle splash bubble fizz rub "
    "crunch slam clack ping ding pop crack snap tinkle scratch shuffle swish swoosh "
    "whoosh vibrate hum drone rumble boom explode thunder blare patter slap bonk hiss "
    "muffle clunk chink rummage"
)
_OTHER_VERBS = _set(
    "run go move drive pass rev idle accelerate decelerate slow speed start stop "
    "begin continue approach play ring chime toll honk toot blow whistle fly land "
    "operate work spin turn open close shut lock gallop trot walk jog ride hit strike "
    "drop fall pour flow flush spray fill cut chop saw hammer type write tear rip "
    "stomp dance wash brush sweep shoot fire ignite burst break shatter crash smash "
    "skid screech squeal roar wail echo increase decrease fade grow get become come "
    "leave settle rise change make give deliver hold try attempt keep use handle stir "
    "cook fry boil cross circle hover travel race roll slide drag throw kick bounce "
    "swing zip zoom shift switch press push pull pump grind mow dial strum pluck rush "
    "gush churn lap swirl drain sputter chug flap flutter peck scurry happen occur "
    "end finish resume repeat blast emit produce scrub trigger perform tune crank "
    "drill sand gust slosh whip sail dig plop shake quiet trail intensify dwindle "
    "squirt arrive depart cruise clear crush squish tumble signal activate sound "
    "gargle peel pat bend beat sharpen enter exit load reload unload set put pick "
    "take touch click carve scoop mix unwind stutter stall jump burn "
    "scuff ricochet grate knead wipe plunk flick toss unlock squelch "
    "clap clop die tell read count wait pause greet explain describe"
)
_VERBS = CALLS | NOISES | _OTHER_VERBS
# "a person opens and closes a door": the first verb needs the object of the second.
NEED_OBJECT = _set(
    "open opens opening close closes closing shut shuts shutting fill fills filling "
    "empty empties turn turns turning pick picks hit hits hitting lock locks push "
    "pushes pull pulls load loads loading cut cuts cutting chop chops"
)
# Gerunds followed by an object, unlike "running water".
TAKE_OBJECT = _set(
    "playing making giving using hitting delivering producing having eating chopping "
    "spraying washing filling cutting tearing typing drinking chewing hammering "
    "operating sawing opening closing strumming shaking changing shifting stirring "
    "cooking frying"
)
BEGINNINGS = _set("begin begins start starts continue continues keep keeps")
_PAST = _set(
    "spoke sang ran blew rang broke fell drove flew began went came gave made said "
    "struck"
)
_NOT_GERUNDS = _set(
    "thing things something anything everything nothing morning evening building "
    "ceiling during wing king ring string spring swing sing bring lightning clothing "
    "railing sling ping ding"
)
_PLURALS = _set(
    "men women people children geese mice sheep cattle police lots crowd audience"
)
_VOWELS = "aeiou"


def _forms() -> dict[str, str]:
    forms = {}
    for verb in _VERBS:
        stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
        doubled = verb[-1] not in "aeiouwxyh" and verb[-2] in _VOWELS
        forms[verb] = "base"
        if verb.endswith(("s", "sh", "ch", "x", "z", "go")):
            forms[verb + "es"] = "s"
        elif verb.endswith("y") and verb[-2] not in _VOWELS:
            forms[verb[:-1] + "ies"] = "s"
            forms[verb[:-1] + "ied"] = "ed"
        else:
            forms[verb + "s"] = "s"
        forms[stem + "ed"] = "ed"
        if doubled:
            forms[verb + verb[-1] + "ed"] = "ed"
    forms.update(dict.fromkeys(_PAST, "ed"))
    del forms["thunder"]  # a noun: "dogs bark, then thunder"; a storm thunders
    return forms


_FORMS = _forms()


def is_gerund(word: str) -> bool:
    """Return whether a word is a gerund, by its ending and a list of exceptions."""
    return len(word) > 4 and word.endswith("ing") and word not in _NOT_GERUNDS


def verb_form(word: str) -> str | None:
    """Return ``"base"``, ``"s"``, ``"ed"`` or ``"ing"``, or None for unknown verbs."""
    return "ing" if is_gerund(word) else _FORMS.get(word)


def verb_of_gerund(word: str) -> str:
    """Return the base form of a gerund if it is listed, else the word."""
    stem = word[:-3]
    for base in (stem, stem + "e", stem[:-1]):
        if base in _VERBS:
            return base
    return word


def is_adverb(word: str) -> bool:
    """Return whether a word is an adverb, by its ending or a list."""
    return word in ADVERBS or (word.endswith("ly") and len(word) > 4)


def is_plural(word: str) -> bool:
    """Return whether a noun is plural, by its ending or a list."""
    return word in _PLURALS or (word.endswith("s") and not word.endswith(("ss", "us")))
