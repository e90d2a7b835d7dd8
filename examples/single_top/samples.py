"""Pythia 8 set-up of the five processes: what is generated, what is skipped early, and its cross-section.

A `Sample` is the physics; `events` turns it into batches of Awkward arrays; `calibrate` measures, once a process,
what the normalisation needs (leading-order cross-sections, mean of the clipped shower weights).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import awkward as ak
import numpy as np
import pythia8mc

LUMINOSITY = 140_000.0  # pb^-1
BR_W_LEPTON = 0.1086  # W -> one lepton flavour (PDG)
BR_TAU_LEPTON = 0.3521  # tau -> e or mu (PDG)
PT_REFERENCE = 50.0  # GeV
SHOWER_CLIP = (0.5, 2.0)  # bounds of the ratio varied / nominal of the shower weights
HEAVY_SCALE = (
    4.0  # GeV; when the shower has evolved to it, nearly all b and c quarks of jets are there
)

#: Weights of Pythia's automatic shower variations: name -> its setting (mu_R of the shower halved is more radiation).
SHOWER_VARIATIONS = {
    "isr_up": "isr:muRfac=0.5",
    "isr_down": "isr:muRfac=2.0",
    "fsr_up": "fsr:muRfac=0.5",
    "fsr_down": "fsr:muRfac=2.0",
}

_COMMON = (
    "Beams:eCM = 13000.",
    "PartonLevel:MPI = off",  # a factor two in time; see the README
    "6:m0 = 172.5",
    "Print:quiet = on",
    "Random:setSeed = on",
)
_SHOWER_BANDS = (
    "UncertaintyBands:doVariations = on",
    # vary emissions above 5 GeV only (that is 100 * pTmin^2): those that jets see; the weights of softer ones are noise
    "UncertaintyBands:FSRpTmin2Fac = 100.",
    "UncertaintyBands:overSampleFSR = 2.",  # 3 and 2 would be slower and the weights hardly narrower
    "UncertaintyBands:overSampleISR = 1.5",
    "UncertaintyBands:List = {"
    + ", ".join(f"{name} {how}" for name, how in SHOWER_VARIATIONS.items())
    + "}",
)
_ONE_LEPTONIC_W = (
    "24:onMode = off",
    "24:onIfAny = 11 13 15",
    "15:onMode = off",
    "15:onIfAny = 11 13",
)
_Z_TO_LEPTONS = (
    "WeakZ0:gmZmode = 0",
    "23:onMode = off",
    "23:onIfAny = 11 13 15",
    "23:mMin = 66.",
    "23:mMax = 116.",
)


@dataclass(frozen=True)
class Sample:
    """One process.

    Attributes:
        number: prefix of its event numbers (times 100 million).
        settings: Pythia's.
        cross_section: pb of what the generator keeps, by class of event: 6 and -6 where single top and antitop are
            normalised separately, 0 where not. Empty if it comes from `inclusive_settings`.
        generate: hard-process events at scale 1.
        pt_bias: events are generated with probability proportional to (pT-hat / `PT_REFERENCE`) to this power, and
            weighted with its inverse, because most V+jets events of low pT-hat are not selected.
        reference: events whose weight (of pt_bias, times the tag probability) is lower are kept with probability
            weight / reference, and weighted with its inverse.
        inclusive_settings, inclusive_cross_section: a sample with a cut on pT-hat is scaled by the K factor
            inclusive_cross_section / (Pythia's leading order for inclusive_settings).
        keep: probability with which a hard process, as a list of its particles, goes on to the shower; the weight gets
            its inverse.
        keep_lighter: the same for events whose heaviest quark, when the shower reaches `HEAVY_SCALE`, is a c (4) or
            lighter (0).
    """

    number: int
    settings: tuple[str, ...]
    generate: int
    cross_section: dict[int, float] = field(default_factory=dict)
    pt_bias: float = 0.0
    reference: float = 0.0
    polarised_top: bool = False
    one_leptonic_w: bool = False
    dilepton_veto: bool = False
    inclusive_settings: tuple[str, ...] = ()
    inclusive_cross_section: float = 0.0
    keep: Callable[[list], float] = lambda particles: 1.0
    keep_lighter: dict[int, float] = field(default_factory=dict)

    @property
    def all_settings(self) -> tuple[str, ...]:
        """With shower variations and bias."""
        bias = (
            "PhaseSpace:bias2Selection = on",
            f"PhaseSpace:bias2SelectionPow = {self.pt_bias}",
            f"PhaseSpace:bias2SelectionRef = {PT_REFERENCE}",
        )
        return (*_SHOWER_BANDS, *self.settings, *(bias if self.pt_bias else ()))

    def bias_weight(self, pt_hat: float | np.ndarray) -> float | np.ndarray:
        """Weight that undoes `pt_bias`."""
        return (PT_REFERENCE / pt_hat) ** self.pt_bias


def _keep_boson(particles: list, *, lepton_pt: float, mtw: float = 0.0) -> float:
    """Of V+jets: less where the lepton comes from a tau or is soft, the transverse mass low, or the jet forward."""
    final = [p for p in particles if p.isFinal()]
    lepton = max((p for p in final if p.idAbs() in (11, 13, 15)), key=lambda p: p.pT())
    jet = next(p for p in final if p.idAbs() < 6 or p.idAbs() == 21)
    x, y = (sum(getattr(p, c)() for p in final if p.idAbs() in (12, 14, 16)) for c in ("px", "py"))
    mass = 2 * (lepton.pT() * np.hypot(x, y) - lepton.px() * x - lepton.py() * y)
    rare = lepton.idAbs() == 15 or lepton.pT() < lepton_pt or abs(jet.eta()) > 3.2
    return 0.5 if rare or mass < mtw**2 else 1.0


# W -> e, mu, or tau that decays to e or mu
_LEPTONIC = BR_W_LEPTON * (2 + BR_TAU_LEPTON)

SAMPLES = {
    "tchannel": Sample(
        number=1,
        settings=("Top:qq2tq(t:W) = on", "SpaceShower:dipoleRecoil = on", *_ONE_LEPTONIC_W),
        generate=260_000,
        cross_section={6: 136.02 * _LEPTONIC, -6: 80.95 * _LEPTONIC},
        polarised_top=True,
        one_leptonic_w=True,
    ),
    "schannel": Sample(
        number=2,
        settings=("Top:ffbar2tqbar(s:W) = on", *_ONE_LEPTONIC_W),
        generate=60_000,
        cross_section={6: 6.35 * _LEPTONIC, -6: 3.97 * _LEPTONIC},
        polarised_top=True,
        one_leptonic_w=True,
    ),
    "ttbar": Sample(
        number=3,
        settings=("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "SpaceShower:pTdampMatch = 1"),
        generate=260_000,
        cross_section={0: 831.76 * (1 - (1 - 3 * BR_W_LEPTON) ** 2)},
    ),
    "wjets": Sample(
        number=4,
        settings=(
            "WeakBosonAndParton:qqbar2Wg = on",
            "WeakBosonAndParton:qg2Wq = on",
            "PhaseSpace:pTHatMin = 25.",
            "UncertaintyBands:overSampleFSR = 1.5",
            *_ONE_LEPTONIC_W,
        ),
        generate=2_480_000,
        pt_bias=1.5,
        reference=0.06,
        one_leptonic_w=True,
        keep=partial(_keep_boson, lepton_pt=25.0, mtw=50.0),
        keep_lighter={4: 0.8, 0: 0.15},
        inclusive_settings=("WeakSingleBoson:ffbar2W = on", *_ONE_LEPTONIC_W),
        inclusive_cross_section=3 * 20_100.0,
    ),
    "zjets": Sample(
        number=5,
        settings=(
            "WeakBosonAndParton:qqbar2gmZg = on",
            "WeakBosonAndParton:qg2gmZq = on",
            "PhaseSpace:pTHatMin = 25.",
            "UncertaintyBands:overSampleFSR = 1.5",
            *_Z_TO_LEPTONS,
        ),
        generate=600_000,
        pt_bias=1.5,
        reference=0.03,
        dilepton_veto=True,
        keep=partial(_keep_boson, lepton_pt=40.0),
        keep_lighter={4: 0.8, 0: 0.15},
        inclusive_settings=("WeakSingleBoson:ffbar2gmZ = on", *_Z_TO_LEPTONS),
        inclusive_cross_section=3 * 1_950.0,
    ),
}


def _keep_top_pair(particles: list) -> float:
    """Of a top pair for two jets that are both tagged: less where a b quark is far from it or other jets are hard."""
    final = [p for p in particles if p.isFinal()]
    b_quarks = [p for p in final if p.idAbs() == 5]
    seen = all(p.pT() > 20 and abs(p.eta()) < 2.8 for p in b_quarks)
    # an electron or tau that is not the lepton is a jet
    jets = [p for p in final if p.idAbs() < 5 and p.pT() > 35 and abs(p.eta()) < 4.2]
    leptons = [p for p in final if p.idAbs() in (11, 15) and p.pT() > 35 and abs(p.eta()) < 4.2]
    muons = any(p.idAbs() == 13 and p.pT() > 25 for p in final)
    extra = len(jets) + max(len(leptons) - (not muons), 0)
    return (1.0 if seen else 0.3) * (1.0, 0.6, 0.2, 0.2)[min(extra, 3)]


# For events of two jets that are both tagged
BOTH_TAGGED = {
    "schannel": replace(SAMPLES["schannel"], number=11, generate=40_000, reference=0.1),
    "tchannel": replace(SAMPLES["tchannel"], number=12, generate=40_000, reference=0.1),
    "ttbar": replace(
        SAMPLES["ttbar"], number=13, generate=520_000, reference=0.3, keep=_keep_top_pair
    ),
    "wjets": replace(
        SAMPLES["wjets"],
        number=14,
        generate=800_000,
        reference=0.1,
        keep_lighter={4: 0.1, 0: 0.1},
    ),
}
SETS = {"one_untagged": SAMPLES, "both_tagged": BOTH_TAGGED}


class _Filter(pythia8mc.UserHooks):
    """Physics that Pythia leaves out, by rejection, and rejection of events that cannot be selected, for speed.

    At process level, before any shower, in this order:
      * ttbar without a leptonic W is dropped (the cross-section accounts for it);
      * a tau of a W that is forced to decay to e or mu is kept with the probability of that decay;
      * single top gets the top polarisation that Pythia does not simulate: at leading order the top spin points
        along the down-type quark d of the light-quark line, so the density is 1 + cos(lepton, d) in the top's rest
        frame (Mahlon, Parke, hep-ph/9912458); events are kept with half of that as probability.
    What is left is *generated* and counted. Then, for speed only: at process level a lepton with pT > 12 GeV and
    |eta| < 3.2 (for Z+jets, not two well inside); at parton level, after the showers and before hadronisation, one
    with pT > 25 GeV (28 GeV for a tau) and |eta| < 2.55, and two more anti-kt 0.4 jets with pT > 20 GeV.
    What `Sample.keep` and `Sample.keep_lighter` drop at random is between the two. With which probability an event
    was kept is the `tau` of its first incoming parton, which Pythia does not use.
    """

    def __init__(self, sample: Sample, seed: int):
        super().__init__()
        self._sample = sample
        self._random = np.random.default_rng(seed)
        self._jets = pythia8mc.SlowJet(-1, 0.4, 20.0, 5.0)
        self.generated = dict.fromkeys(sample.cross_section or {0: 0.0}, 0.0)
        self.tries = 0

    def canVetoProcessLevel(self) -> bool:
        return True

    def doVetoProcessLevel(self, process) -> bool:
        particles = [process[i] for i in range(process.size())]
        leptons = [p for p in particles if p.isFinal() and abs(p.id()) in (11, 13, 15)]
        if not leptons:
            return True
        if (
            self._sample.one_leptonic_w
            and abs(leptons[0].id()) == 15
            and self._random.random() > BR_TAU_LEPTON
        ):
            return True
        kind = 0
        if self._sample.polarised_top:
            top = next(p for p in particles if abs(p.id()) == 6)
            if 2 * self._random.random() > 1 + _spin_cosine(particles, top, leptons[0]):
                return True
            kind = top.id()
        self.tries += 1
        self.generated[kind] += self._sample.bias_weight(particles[5].pT())
        if self._sample.dilepton_veto and all(
            p.idAbs() != 15 and p.pT() > 20 and abs(p.eta()) < 2.2 for p in leptons
        ):
            return True
        if not any(p.pT() > 12 and abs(p.eta()) < 3.2 for p in leptons):
            return True
        keep = self._sample.keep(particles)
        particles[_KEPT].tau(keep)
        return keep < 1 and self._random.random() > keep

    def canVetoPT(self) -> bool:
        return bool(self._sample.keep_lighter)

    def scaleVetoPT(self) -> float:
        return HEAVY_SCALE

    def doVetoPT(self, position: int, event) -> bool:
        if position == _RESONANCE_DECAYS:  # a second call for the same event
            return False
        heavy = (event[i].idAbs() for i in range(5, event.size()) if event[i].isFinal())
        flavour = max((kind for kind in heavy if kind in (4, 5)), default=0)
        keep = self._sample.keep_lighter.get(flavour, 1.0)
        event[_KEPT].tau(event[_KEPT].tau() * keep)
        return keep < 1 and self._random.random() > keep

    def canVetoPartonLevel(self) -> bool:
        return True

    def doVetoPartonLevel(self, event) -> bool:
        self._jets.analyze(event)
        if self._jets.sizeJet() < 3:
            return True
        muons, central = 0, False
        for i in range(event.size() - 1, 4, -1):
            kind = event[i].idAbs()
            if kind in (11, 13, 15) and event[i].isFinal():
                pt = event[i].pT()
                muons += kind == 13 and pt > 20
                central |= pt > (28 if kind == 15 else 25) and abs(event[i].eta()) < 2.55
        return not central or self._jets.sizeJet() < 2 + max(1, muons)  # a muon is no jet


_RESONANCE_DECAYS = 5  # Pythia's number of this position in an event's evolution
_KEPT = 3  # where the probability is that an event was kept with


def kept_probability(particles: ak.Array) -> np.ndarray:
    """With which probability the events of a batch were kept before hadronisation."""
    return np.asarray(particles.tau[:, _KEPT])


def _spin_cosine(particles: list, top, lepton) -> float:
    """Cosine between the lepton and the down-type light quark in the top's rest frame (massless formula)."""
    incoming = [particles[3], particles[4]]
    outgoing = next(p for p in particles[5:7] if abs(p.id()) != 6)
    if abs(outgoing.id()) == 5 and all(
        abs(p.id()) != 5 for p in incoming
    ):  # s-channel: q qbar' -> t bbar
        down = next(p for p in incoming if p.id() % 2)
    elif outgoing.id() % 2:  # u b -> d t
        down = outgoing
    else:  # dbar b -> ubar t
        down = next(p for p in incoming if p.id() * outgoing.id() > 0)
    t, q, p = top.p(), down.p(), lepton.p()
    return 1 - top.m() ** 2 * (p * q) / ((t * p) * (t * q))


def _pythia(
    settings: tuple[str, ...], seed: int, hook: pythia8mc.UserHooks | None = None
) -> pythia8mc.Pythia:
    pythia = pythia8mc.Pythia("", False)
    for line in (*_COMMON, *settings, f"Random:seed = {seed}"):
        if not pythia.readString(line):
            raise ValueError(f"Pythia does not accept the setting {line!r}")
    if hook is not None:
        pythia.setUserHooksPtr(hook)
    if not pythia.init():
        raise RuntimeError("Pythia did not initialise; run with Print:quiet = off to see why")
    return pythia


def events(
    sample: Sample, *, generate: int, seed: int, batch: int = 1000
) -> Iterator[tuple[ak.Array, dict[int, float]]]:
    """Events that pass the filters, batch by batch, until `generate` have been generated (or a few more).

    Yields:
        A batch, and the sum of the weights of all events generated so far, by class.
    """
    hook = _Filter(sample, seed)
    pythia = _pythia(sample.all_settings, seed, hook)
    while hook.tries < generate:
        yield pythia.nextBatch(batch), dict(hook.generated)


def shower_ratios(weights: ak.Array) -> np.ndarray:
    """Clipped ratio to the nominal weight of each of `SHOWER_VARIATIONS`: [events, variations]."""
    weights = np.asarray(ak.to_regular(weights))
    # Pythia lists the nominal weight first, then the variations in the order of the settings
    return np.clip(weights[:, -len(SHOWER_VARIATIONS) :] / weights[:, :1], *SHOWER_CLIP)


def calibrate(name: str, *, seed: int, number: int) -> dict:
    """What the normalisation of a process needs.

    Args:
        name: of the process.
        seed: of Pythia.
        number: events for the mean shower ratios, without any filter; ten times more for a cross-section.

    Returns:
        cross_section: pb, by class, of what the filter counts as generated.
        shower_mean, shower_clipped: mean of the clipped ratios, and share that is clipped, by variation.
        lo_inclusive, lo_cut, k_factor: of a sample with a cut on pT-hat.
    """
    sample = SAMPLES[name]
    result: dict = {"cross_section": {str(k): v for k, v in sample.cross_section.items()}}
    unfiltered = _pythia((*_SHOWER_BANDS, *sample.settings, "HadronLevel:all = off"), seed)
    ratios = shower_ratios(unfiltered.nextBatch(number).info.weights)
    result["shower_mean"] = dict(zip(SHOWER_VARIATIONS, ratios.mean(axis=0).tolist(), strict=True))
    result["shower_clipped"] = dict(
        zip(SHOWER_VARIATIONS, np.isin(ratios, SHOWER_CLIP).mean(axis=0).tolist(), strict=True)
    )
    if sample.inclusive_settings:
        cheap = ("PartonLevel:all = off",)
        inclusive, cut = (
            _leading_order((*settings, *cheap), seed, 10 * number)
            for settings in (sample.inclusive_settings, sample.settings)
        )
        k_factor = sample.inclusive_cross_section / inclusive
        kept = (2 + BR_TAU_LEPTON) / 3 if sample.one_leptonic_w else 1.0
        result |= {"lo_inclusive": inclusive, "lo_cut": cut, "k_factor": k_factor}
        result["cross_section"] = {"0": k_factor * cut * kept}
    return result


def _leading_order(settings: tuple[str, ...], seed: int, number: int) -> float:
    """Pythia's cross-section in pb."""
    pythia = _pythia(settings, seed)
    for _ in range(number):
        pythia.next()
    return pythia.infoPython().sigmaGen() * 1e9
