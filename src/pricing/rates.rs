//! Rates of each kind of token, and how tiers of length and of service change them.

/// A kind of token that may have a rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    /// Kept for an hour.
    CacheWrite1h,
    /// Kept for 12 hours.
    CacheWrite12h,
    Reasoning,
    InputAudio,
    InputImage,
    InputVideo,
    CacheReadAudio,
    CacheReadImage,
    OutputAudio,
    OutputImage,
    OutputVideo,
    /// Sources that the model cites.
    Citation,
}

impl Kind {
    /// All kinds, in the order of [`Rates`].
    pub(super) const ALL: [Self; 16] = [
        Self::Input,
        Self::Output,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::CacheWrite12h,
        Self::Reasoning,
        Self::InputAudio,
        Self::InputImage,
        Self::InputVideo,
        Self::CacheReadAudio,
        Self::CacheReadImage,
        Self::OutputAudio,
        Self::OutputImage,
        Self::OutputVideo,
        Self::Citation,
    ];

    /// Its field in an own price book, and its name where it has no price.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::CacheWrite12h => "cache_write_12h",
            Self::Reasoning => "reasoning",
            Self::InputAudio => "input_audio",
            Self::InputImage => "input_image",
            Self::InputVideo => "input_video",
            Self::CacheReadAudio => "cache_read_audio",
            Self::CacheReadImage => "cache_read_image",
            Self::OutputAudio => "output_audio",
            Self::OutputImage => "output_image",
            Self::OutputVideo => "output_video",
            Self::Citation => "citation",
        }
    }

    /// The kind whose rate it costs where it has none of its own.
    fn default_kind(self) -> Option<Self> {
        match self {
            Self::Input | Self::Output | Self::Citation => None,
            Self::CacheRead
            | Self::CacheWrite
            | Self::InputAudio
            | Self::InputImage
            | Self::InputVideo => Some(Self::Input),
            Self::CacheWrite1h | Self::CacheWrite12h => Some(Self::CacheWrite),
            Self::CacheReadAudio | Self::CacheReadImage => Some(Self::CacheRead),
            Self::Reasoning | Self::OutputAudio | Self::OutputImage | Self::OutputVideo => {
                Some(Self::Output)
            }
        }
    }

    /// Whether the default is what a provider bills that lists no other rate, and not a guess: cached input and media
    /// that are read are plain input, reasoning is plain output. Longer caches and media that are made cost more.
    fn is_default_price(self) -> bool {
        !matches!(
            self,
            Self::CacheWrite1h
                | Self::CacheWrite12h
                | Self::OutputAudio
                | Self::OutputImage
                | Self::OutputVideo
        )
    }
}

/// Rates of each kind of token, in 1e-12 dollars per token; absent where the list has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates([Option<u64>; Kind::ALL.len()]);

impl Rates {
    pub(super) fn get(&self, kind: Kind) -> Option<u64> {
        self.0.get(kind as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, kind: Kind, rate: Option<u64>) {
        if let Some(slot) = self.0.get_mut(kind as usize) {
            *slot = rate;
        }
    }

    /// These rates with those that `over` has.
    pub(super) fn overlaid(mut self, over: &Self) -> Self {
        for (slot, over) in self.0.iter_mut().zip(over.0) {
            *slot = over.or(*slot);
        }
        self
    }
}

/// Rates that apply to a whole request if its input tokens exceed a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) above_input_tokens: u64,
    /// What differs from lower tiers.
    pub(super) rates: Rates,
}

/// The rates of one tier of service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tariff {
    base: Rates,
    /// Lowest threshold first.
    tiers: Vec<Tier>,
}

impl Tariff {
    pub(super) fn new(base: Rates, mut tiers: Vec<Tier>) -> Self {
        tiers.sort_by_key(|tier| tier.above_input_tokens);
        Self { base, tiers }
    }

    pub(super) fn has_input_or_output(&self) -> bool {
        self.base.get(Kind::Input).is_some() || self.base.get(Kind::Output).is_some()
    }

    /// The tiers that a request of this many input tokens exceeds, lowest first.
    fn exceeded(&self, input_tokens: u64) -> impl Iterator<Item = &Tier> {
        let is_exceeded = move |tier: &&Tier| input_tokens > tier.above_input_tokens;
        self.tiers.iter().take_while(is_exceeded)
    }

    fn rates(&self, input_tokens: u64) -> Rates {
        let tiers = self.exceeded(input_tokens);
        tiers.fold(self.base, |rates, tier| rates.overlaid(&tier.rates))
    }
}

/// The rates of one request, and which of them are those of its tier of service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote {
    rates: Rates,
    /// The tier's own rates, where the request has a tier other than the standard one.
    tier: Option<Rates>,
    /// Whether output rates of media are guesses if absent.
    is_output_image_only: bool,
}

impl Quote {
    /// The rates of the standard tier.
    pub(super) fn standard(tariff: &Tariff, input_tokens: u64) -> Self {
        Self::of(tariff.rates(input_tokens), None)
    }

    /// The rates of another tier of service; the standard ones where it has none. `is_batch`: its rates hold for any
    /// length, unless it has longer ones; rates of other tiers of service do not hold where the standard tier has
    /// rates of long requests.
    pub(super) fn of_service(
        standard: &Tariff,
        service: &Tariff,
        is_batch: bool,
        input_tokens: u64,
    ) -> Self {
        let usual = standard.rates(input_tokens);
        let mut own = service.base;
        let mut listed = service.base;
        let mut tiers: Vec<_> = standard
            .exceeded(input_tokens)
            .map(|tier| (tier, false))
            .chain(service.exceeded(input_tokens).map(|tier| (tier, true)))
            .collect();
        tiers.sort_by_key(|(tier, is_own)| (tier.above_input_tokens, *is_own));
        for (tier, is_own) in tiers {
            for kind in Kind::ALL {
                let Some(rate) = tier.rates.get(kind) else {
                    continue;
                };
                let rate = is_own.then_some(rate);
                listed.set(kind, rate);
                if is_own || !is_batch {
                    own.set(kind, rate);
                }
            }
        }
        // Reasoning without a rate in the tier costs what its output does.
        let mut rates = usual.overlaid(&own);
        if own.get(Kind::Reasoning).is_none() && own.get(Kind::Output).is_some() {
            rates.set(Kind::Reasoning, None);
        }
        Self::of(rates, Some(listed))
    }

    fn of(mut rates: Rates, tier: Option<Rates>) -> Self {
        // A model that only makes images has no other rate of output.
        let is_output_image_only = rates.get(Kind::Output).is_none();
        if is_output_image_only {
            rates.set(Kind::Output, rates.get(Kind::OutputImage));
        }
        Self {
            rates,
            tier,
            is_output_image_only,
        }
    }

    /// Replaces rates, whatever the tier.
    pub(super) fn overlay(&mut self, over: &Rates) {
        self.rates = self.rates.overlaid(over);
        self.tier = self.tier.map(|tier| tier.overlaid(over));
    }

    /// The rate of a kind, and whether it is the list's and not a stand-in.
    pub(super) fn rate(&self, kind: Kind) -> (Option<u64>, bool) {
        let mut at = kind;
        let mut is_listed = true;
        loop {
            if let Some(rate) = self.rates.get(at) {
                let is_tiers = self.tier.is_none_or(|tier| {
                    tier.get(at).is_some()
                        || (at == Kind::Output && self.is_output_image_only)
                            && tier.get(Kind::OutputImage).is_some()
                });
                return (Some(rate), is_listed && is_tiers);
            }
            is_listed = is_listed && (at.is_default_price() || self.is_output_image_only);
            let Some(next) = at.default_kind() else {
                return (None, false);
            };
            at = next;
        }
    }
}
