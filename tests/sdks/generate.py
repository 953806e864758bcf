"""Valid JSON for any type of an SDK, from its annotations alone.

Every union walks its members in turn, so that a long run meets all of them. Optional fields are all there,
all absent, or drawn; the mode is set for one instance. The SDKs' types are pydantic models; aliases are what
goes over the wire.
"""

import base64
import collections
import collections.abc
import datetime
import enum
import random
import types
import typing

import annotated_types
import pydantic
import typing_extensions

DEPTH_MAX = 9
LIST_ITEMS_MAX = 3

Literal = (typing.Literal, typing_extensions.Literal)
UNSET_NAMES = {"Unset", "UnrecognizedStr", "UnrecognizedInt", "Omit", "NotGiven"}


def type_name(cls):
    """`openai.types.chat.ChatCompletion` and the like, without the file's own module."""
    module = cls.__module__
    last = module.rsplit(".", 1)[-1].replace("_", "")
    if last == cls.__qualname__.lower() or module.count(".") > 2:
        module = module.rsplit(".", 1)[0]
    return f"{module}.{cls.__qualname__}"


def is_model(annotation):
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def plain(annotation):
    """The annotation without names and metadata."""
    while True:
        if isinstance(annotation, typing_extensions.TypeAliasType):
            annotation = annotation.__value__
        elif isinstance(typing.get_origin(annotation), typing_extensions.TypeAliasType):
            annotation = typing.get_origin(annotation).__value__[typing.get_args(annotation)]
        elif typing.get_origin(annotation) in (typing.Annotated, typing_extensions.Annotated):
            annotation = typing.get_args(annotation)[0]
        elif typing.get_origin(annotation) in (typing.Required, typing.NotRequired, typing_extensions.Required,
                                               typing_extensions.NotRequired, typing.ClassVar, typing.Final):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def members(annotation):
    """The members of a union, without nothing; else the one."""
    annotation = plain(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Union or isinstance(annotation, types.UnionType):
        found = []
        for member in typing.get_args(annotation):
            found.extend(members(member))
        return found
    if isinstance(annotation, typing.TypeVar):
        return members(annotation.__bound__) if annotation.__bound__ else [object]
    if annotation is type(None) or getattr(annotation, "__name__", "") in UNSET_NAMES:
        return []
    return [annotation]


def is_optional(field):
    annotation = plain(field.annotation)
    union = typing.get_origin(annotation) is typing.Union or isinstance(annotation, types.UnionType)
    nullable = union and type(None) in [plain(member) for member in typing.get_args(annotation)]
    return not field.is_required() or nullable


def wire_name(cls, name, field):
    """The name of a field as it is sent."""
    if field.serialization_alias or field.alias:
        return field.serialization_alias or field.alias
    for note in field.metadata:
        alias = getattr(note, "alias", None)  # Cohere's own metadata
        if isinstance(alias, str):
            return alias
    raw = cls.__annotations__.get(name) if isinstance(cls.__dict__.get("__annotations__"), dict) else None
    for note in getattr(raw, "__metadata__", ()):
        alias = getattr(note, "alias", None)
        if isinstance(alias, str):
            return alias
    return name


def fields_of(cls):
    """Name on the wire, field."""
    try:
        cls.model_rebuild()
    except Exception:  # Some types of the SDKs refer to what is not imported.
        pass
    found = []
    for name, field in cls.model_fields.items():
        if isinstance(field.annotation, str) or field.exclude:
            continue
        found.append((wire_name(cls, name, field), field))
    return found


class Instance(dict):
    """The JSON of a model, which knows of which."""

    def __init__(self, cls):
        super().__init__()
        self.cls = cls


class Generator:
    """Draws instances. `seen` counts the types that were drawn."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.turns = collections.Counter()
        self.seen = collections.Counter()
        self.number = 0
        self.mode = "some"

    def next_number(self):
        self.number += 1
        return self.number

    def word(self, stem="w"):
        return f"{stem}{self.next_number()}"

    def text(self):
        """Words that occur nowhere else, with what JSON has to escape."""
        words = [self.word("t") for _ in range(self.random.randint(1, 3))]
        return self.random.choice([" ", " é ", ' "q" ', " \\ ", " 😀 "]).join(words)

    def turn(self, key, count):
        """The next of `count` in turn, for this place."""
        at = self.turns[key]
        self.turns[key] += 1
        # A stride through the members, so that two unions in step do not always meet in the same pairs.
        return (at * (7 if count % 7 else 1) + at // count) % count

    def wants(self, field):
        if not is_optional(field):
            return True
        return {"all": True, "none": False}.get(self.mode, self.random.random() < 0.6)

    def model(self, cls, depth=0, **given):
        """An instance of a model; fields of `given` are taken as they are, by their names on the wire."""
        self.seen[type_name(cls)] += 1
        found = Instance(cls)
        for name, field in fields_of(cls):
            if name in given:
                found[name] = given[name]
                continue
            if not self.wants(field):
                continue
            # Deep down, only what must be there.
            if depth >= DEPTH_MAX and is_optional(field):
                continue
            value = self.value(field.annotation, name, (cls, name), depth + 1, field.metadata)
            if value is not None or not is_optional(field):
                found[name] = value
        return found

    def value(self, annotation, name="", place=None, depth=0, metadata=()):
        choices = members(annotation)
        # What a client writes is not what a server sends.
        choices = [choice for choice in choices if not typing_extensions.is_typeddict(choice)] or choices
        # Names that are to come, where some are known.
        choices = [choice for choice in choices if choice not in (typing.Any, object)] or choices
        if not choices:
            return None
        if depth >= DEPTH_MAX:
            choices = sorted(choices, key=is_model)[:1]
        choice = choices[self.turn((place, len(choices)), len(choices))]
        return self.one(choice, name, place, depth, metadata)

    def one(self, choice, name, place, depth, metadata):
        origin = typing.get_origin(choice)
        arguments = typing.get_args(choice)
        if origin in Literal:
            return arguments[self.turn((place, choice), len(arguments))]
        if isinstance(choice, type) and issubclass(choice, enum.Enum):
            values = [member.value for member in choice] or [self.word("s")]
            return values[self.turn((place, choice), len(values))]
        if origin in (list, collections.abc.Sequence, collections.abc.Iterable, set, frozenset):
            count = 0 if depth >= DEPTH_MAX - 1 else self.random.randint(0 if depth > 2 else 1, LIST_ITEMS_MAX)
            return [self.value(arguments[0], name, (place, "item"), depth + 1) for _ in range(count)]
        if origin is tuple:
            return [self.value(part, name, (place, at), depth + 1)
                    for at, part in enumerate(arguments) if part is not Ellipsis]
        if origin in (dict, collections.abc.Mapping):
            inner = arguments[1] if len(arguments) == 2 else object
            return {self.word("k"): self.value(inner, name, (place, "value"), depth + 1)
                    for _ in range(self.random.randint(0, 2))}
        if is_model(origin):
            choice = origin
        if is_model(choice):
            return self.model(choice, depth)
        if typing_extensions.is_typeddict(choice):
            return {}
        return self.scalar(choice, name, metadata)

    def scalar(self, choice, name, metadata):
        if choice is bool:
            return self.random.random() < 0.5
        if choice is int:
            low = max([int(note.ge) for note in metadata if isinstance(note, annotated_types.Ge)], default=0)
            return self.random.randint(low, low + 5000)
        if choice is float:
            # Counts that an SDK types as floats are whole.
            return self.random.randint(0, 500) if "token" in name else self.random.random() * 3
        if choice is bytes:
            return base64.b64encode(self.word("bytes").encode()).decode()
        if choice in (datetime.datetime, datetime.date):
            return "2026-11-01T12:00:00Z"
        if choice is str:
            return self.string(name)
        if choice in (dict, typing.Dict):
            return {self.word("k"): self.word("v")}
        if choice in (list, typing.List):
            return []
        if choice in (object, typing.Any, typing_extensions.Any):
            return {self.word("k"): self.random.choice([1, "x", True, [1, 2]])}
        return self.word("s")

    def string(self, name):
        if name == "model" or name.endswith("_model") or name == "modelVersion":
            return self.word("model-")
        if name in ("arguments", "partial_json"):
            return '{"a": "%s"}' % self.word("v")
        if name == "id" or name.endswith("_id") or name.endswith("Id"):
            return self.word("id-")
        if name == "amount":
            return str(self.random.randint(1, 5000))
        if name == "type":
            return self.word("type-")
        if "time" in name.lower() or name.endswith("_at") or name.endswith("At"):
            return "2026-11-01T12:00:00Z"
        if name in ("text", "content", "thinking", "refusal", "transcript", "message", "output", "code"):
            return self.text()
        return self.word("s")
