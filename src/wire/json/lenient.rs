//! Types that accept any JSON value. A field of an unexpected type counts as absent, and never costs the
//! fields beside it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value as written in the body; absent if it is `null`.
pub(crate) type Raw<'a> = Option<&'a RawValue>;

/// A string.
#[derive(Debug, Default, Clone)]
pub(crate) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

/// A string, or a number in its digits.
#[derive(Debug, Default, Clone)]
pub(crate) struct Label(pub(crate) Option<String>);

/// A non-negative number without a fraction. A number that is too large becomes the largest one.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count(pub(crate) Option<u64>, Oddity);

/// Whether there is a value that is not a count.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Oddity(bool);

/// A number.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Real(pub(crate) Option<f64>);

/// A boolean.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Flag(pub(crate) Option<bool>);

/// An object.
#[derive(Debug, Clone)]
pub(crate) struct Object<T>(pub(crate) Option<T>);

/// The first `MAX` items of an array.
#[derive(Debug, Clone)]
pub(crate) struct List<T, const MAX: usize>(pub(crate) Vec<T>);

/// The first `MAX` items of an array, or a single item without one.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany<T, const MAX: usize>(pub(crate) Vec<T>);

/// The last `MAX` items of an array: a list that grows at its end is read from its newest items.
#[derive(Debug, Clone)]
pub(crate) struct Latest<T, const MAX: usize> {
    pub(crate) items: VecDeque<T>,
    /// The number of items before them.
    pub(crate) left_out: u64,
}

/// A list whose newest items are read, or a string in place of a list.
#[derive(Debug, Default, Clone)]
pub(crate) enum Input<'a, T, const MAX: usize> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Items(Latest<T, MAX>),
}

/// The content of a message: a string, or a list of parts of which `MAX` are read.
#[derive(Debug, Default, Clone)]
pub(crate) enum Content<'a, T, const MAX: usize> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Parts(Vec<T>),
}

/// Whether the caller wants texts. It is a type, so that unwanted texts are never copied out of the body.
pub(crate) trait Texts: Default {
    const ARE_WANTED: bool;
}

#[derive(Debug, Default)]
pub(crate) struct Wanted;

#[derive(Debug, Default)]
pub(crate) struct Skipped;

impl Texts for Wanted {
    const ARE_WANTED: bool = true;
}

impl Texts for Skipped {
    const ARE_WANTED: bool = false;
}

/// A value that is skipped unread if texts are not wanted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Prose<V, T>(pub(crate) V, PhantomData<T>);

impl Text<'_> {
    /// The string, unless it is empty.
    pub(crate) fn non_empty(&self) -> Option<&str> {
        self.as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(crate) fn owned(&self) -> Option<String> {
        self.non_empty().map(str::to_owned)
    }
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Default for OneOrMany<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Default for Latest<T, MAX> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            left_out: 0,
        }
    }
}

/// The text of a value that should be a string: its characters if it is one, otherwise its JSON.
pub(crate) fn text_of(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
}

/// Visitor methods for every kind of value that a type does not use.
macro_rules! otherwise {
    ($($visit:ident: $kind:ty),*) => { $(
        fn $visit<E: serde::de::Error>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    )* };
}

macro_rules! ignore {
    (unit) => {
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

impl Count {
    /// Whether the value is present but not a count: negative, with a fraction, or not a number.
    pub(crate) fn is_odd(self) -> bool {
        self.1.0
    }

    /// Reads a value as written in the body. Numbers beyond the floats count as numbers too.
    fn of(value: &str) -> Self {
        if value == "null" {
            return Self::default();
        }
        if let Ok(count) = value.parse() {
            return Self(Some(count), Oddity(false));
        }
        // Some servers write counts with a fraction of zero.
        let count = number(value).and_then(whole);
        Self(count, Oddity(count.is_none()))
    }
}

/// A JSON number; beyond the floats it is infinite.
fn number(value: &str) -> Option<f64> {
    // Rust also parses names such as `inf`, which are not JSON.
    let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    is_number.then(|| value.parse().ok()).flatten()
}

fn whole(number: f64) -> Option<u64> {
    /// Above this, floats do not represent every integer.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number > EXACT_MAX {
        return Some(u64::MAX);
    }
    let is_whole = number.fract() == 0.0 && number >= 0.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked above.
    is_whole.then_some(number as u64)
}

macro_rules! anything {
    ($f:ident) => {
        fn expecting(&self, $f: &mut fmt::Formatter<'_>) -> fmt::Result {
            $f.write_str("anything")
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            anything!(f);
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            otherwise!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
            ignore!(unit);
            ignore!(seq);
            ignore!(map);
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelVisitor;
        impl<'de> Visitor<'de> for LabelVisitor {
            type Value = Label;
            anything!(f);
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Label(Some(text.to_owned())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Label(Some(number.to_string())))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Label(Some(number.to_string())))
            }
            otherwise!(visit_bool: bool, visit_f64: f64);
            ignore!(unit);
            ignore!(seq);
            ignore!(map);
        }
        deserializer.deserialize_any(LabelVisitor)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|value| Self::of(value.get()))
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|value| Self(number(value.get())))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl<'de> Visitor<'de> for FlagVisitor {
            type Value = Flag;
            anything!(f);
            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Flag(Some(flag)))
            }
            otherwise!(visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
            ignore!(unit);
            ignore!(seq);
            ignore!(map);
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            anything!(f);
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|value| Object(Some(value)))
            }
            otherwise!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
            ignore!(unit);
            ignore!(seq);
        }
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

fn items<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut seq: A,
    max: usize,
) -> Result<Vec<T>, A::Error> {
    let mut items = Vec::new();
    while items.len() < max {
        match seq.next_element()? {
            Some(item) => items.push(item),
            None => return Ok(items),
        }
    }
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(items)
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
            type Value = List<T, MAX>;
            anything!(f);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                items(seq, MAX).map(List)
            }
            otherwise!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
            ignore!(unit);
            ignore!(map);
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for OneOrMany<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for OneOrManyVisitor<T, MAX> {
            type Value = OneOrMany<T, MAX>;
            anything!(f);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                items(seq, MAX).map(OneOrMany)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|item| OneOrMany(vec![item]))
            }
            otherwise!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
            ignore!(unit);
        }
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

fn latest<'de, T: Deserialize<'de>, A: SeqAccess<'de>, const MAX: usize>(
    mut seq: A,
) -> Result<Latest<T, MAX>, A::Error> {
    let mut latest = Latest::default();
    while let Some(item) = seq.next_element()? {
        if latest.items.len() >= MAX {
            latest.items.pop_front();
            latest.left_out = latest.left_out.saturating_add(1);
        }
        latest.items.push_back(item);
    }
    Ok(latest)
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Latest<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LatestVisitor<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for LatestVisitor<T, MAX> {
            type Value = Latest<T, MAX>;
            anything!(f);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                latest(seq)
            }
            otherwise!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
            ignore!(unit);
            ignore!(map);
        }
        deserializer.deserialize_any(LatestVisitor(PhantomData))
    }
}

/// Types that are either a string or a list.
macro_rules! text_or {
    ($kind:ident, $visitor:ident, $of_list:expr) => {
        impl<'de: 'a, 'a, T: Deserialize<'de>, const MAX: usize> Deserialize<'de>
            for $kind<'a, T, MAX>
        {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct $visitor<T, const MAX: usize>(PhantomData<T>);
                impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for $visitor<T, MAX> {
                    type Value = $kind<'de, T, MAX>;
                    anything!(f);
                    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                        Ok($kind::Text(Cow::Borrowed(text)))
                    }
                    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                        Ok($kind::Text(Cow::Owned(text.to_owned())))
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                        $of_list(seq)
                    }
                    otherwise!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
                    ignore!(unit);
                    ignore!(map);
                }
                deserializer.deserialize_any($visitor(PhantomData))
            }
        }
    };
}
text_or!(Content, ContentVisitor, |seq| items(seq, MAX)
    .map(Content::Parts));
text_or!(Input, InputVisitor, |seq| latest(seq).map(Input::Items));

impl<'de, V: Deserialize<'de> + Default, T: Texts> Deserialize<'de> for Prose<V, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if T::ARE_WANTED {
            V::deserialize(deserializer).map(|value| Self(value, PhantomData))
        } else {
            IgnoredAny::deserialize(deserializer).map(|_| Self(V::default(), PhantomData))
        }
    }
}
