"""When a study is complete, and when it is enough for a first look: pure logic, with a virtual clock."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from pydicom.uid import CTImageStorage, EncapsulatedPDFStorage, EnhancedMRImageStorage

from db.studies.arrivals import Arrival, ArrivedSeries, StudyArrivals
from dicom_listener.assembly import (
    Decision,
    Known,
    SeriesFacts,
    StudyFacts,
    due,
    series_facts,
    study_facts,
)
from neurotriage.core.placement import Placement
from neurotriage.core.settings import AssemblySettings, RequiredSeries
from neurotriage.core.values import EARLY

pytestmark = pytest.mark.unit

RULES = AssemblySettings()
HEAD = ArrivedSeries(1, "CT", "thin", "HEAD")
AXIAL = "0.00,0.00,1.00 512x512"


def image(place: int, at_s: float = 0.0, *, series: int = 1, on: str = "a", **placement: object) -> Arrival:
    """A slice of 5 mm."""
    place_of = Placement(AXIAL, 5.0 * place)
    where = replace(place_of, **placement)  # type: ignore[arg-type]
    return Arrival(series, CTImageStorage, ("CT", "10.0.0.1"), on, at_s, where, frozen=False)


def stack(images: int = 30, *, pause_s: float = 0.1, begin_s: float = 0.0, **more: object) -> list[Arrival]:
    """A head from below, image by image."""
    return [image(n, begin_s + n * pause_s, **more) for n in range(images)]  # type: ignore[arg-type]


def series(arrivals: Sequence[Arrival], of: ArrivedSeries = HEAD) -> SeriesFacts:
    return series_facts(of, arrivals)


def study(
    arrivals: Sequence[Arrival],
    *more: ArrivedSeries,
    received: int | None = None,
    first_looks: int = 0,
    completed: bool = False,
) -> StudyArrivals:
    ordered = tuple(sorted(arrivals, key=lambda arrival: arrival.came_s))
    images = len(ordered) if received is None else received
    return StudyArrivals(1, "1.2", (HEAD, *more), ordered, images, first_looks, completed)


def decided(arrived: StudyArrivals, known: Known, rules: AssemblySettings = RULES) -> Decision | None:
    return due(study_facts(arrived), known, rules)


def completed_by(arrived: StudyArrivals, known: Known, rules: AssemblySettings = RULES) -> str | None:
    decision = decided(arrived, known, rules)
    return decision.completed_by if decision else None


NO_LOOKS = AssemblySettings(first_looks=0)
PARTS = [image(0), image(2), image(1)]  # three images: too little for anything but a timer


@pytest.mark.parametrize(
    ("idle_s", "behind_s", "evidence"),
    [
        (0, 0, None),
        (59.9, 0, None),
        (60, 0, "quiet"),
        (70, 10, "quiet"),
        (70, 10.1, None),
        (86400, 0, "quiet"),
    ],
)
def test_a_study_is_complete_when_it_is_known_to_have_been_quiet(
    idle_s: float, behind_s: float, evidence: str | None
) -> None:
    decision = decided(study(PARTS), Known(idle_s, behind_s))
    assert (decision.completed_by if decision else None) == evidence
    if decision:
        assert decision.idle_s == 60 + behind_s


@pytest.mark.parametrize(
    ("images", "closed"),
    [
        (stack(), True),
        (stack()[::-1], True),
        (stack()[:10] + stack()[11:], False),  # a gap
        (stack() + stack()[:5], False),  # the second echo is under way
        (stack() + stack(), True),  # two echoes
        (stack(images_stated=31), False),
        (stack(images_stated=30), True),
        (stack(images_stated=30, acquisition_number=1) + stack(3, images_stated=30), False),
        ([image(n, position_mm=float(n * n)) for n in range(20)], False),
        (stack() + stack(20, grid="1.00,0.00,0.00 512x512"), True),
        (stack(position_mm=None), True),  # nothing can be said, so it holds nothing up
    ],
)
def test_a_series_is_closed_by_where_its_images_lie(images: list[Arrival], closed: bool) -> None:
    assert series(images).closed is closed


def test_a_multiframe_instance_is_closed_and_a_part_of_a_concatenation_is_not() -> None:
    whole = replace(image(0, frames=120, extent_mm=160.0), sop_class_uid=EnhancedMRImageStorage, series_id=1)
    assert series([whole]).closed
    assert series([whole]).eligible
    part = replace(whole, placement=replace(whole.placement, images_stated=2))
    assert not series([part]).closed
    assert series([part, part]).full


@pytest.mark.parametrize(
    ("images", "of", "eligible"),
    [
        (stack(), HEAD, True),
        (stack(), replace(HEAD, body_part=""), True),
        (stack(), replace(HEAD, body_part="CHEST"), False),
        (stack(), replace(HEAD, modality="PT"), False),
        (stack(11), HEAD, False),
        (stack(200), HEAD, False),  # a metre
        (stack(12), HEAD, False),  # 60 mm
        (stack() * 9, HEAD, False),  # a time series
        ([replace(a, sop_class_uid=EncapsulatedPDFStorage) for a in stack()], HEAD, False),
    ],
)
def test_a_first_look_needs_a_head_by_its_header(
    images: list[Arrival], of: ArrivedSeries, eligible: bool
) -> None:
    assert series(images, of).eligible is eligible


def test_a_first_look_is_due_once_a_series_rests_while_another_goes_on() -> None:
    other = ArrivedSeries(2, "CT", "thick", "HEAD")
    arrivals = stack() + stack(9, begin_s=3.0, series=2)
    end_s = 3.0 + 0.8
    facts = study(arrivals, other)
    decision = decided(facts, Known(2.9 + 0.99 - end_s))
    assert decision is None
    decision = decided(facts, Known(2.9 + 1.01 - end_s))
    assert decision is not None
    assert (decision.completed_by, decision.series) == (EARLY, (1,))


def test_a_first_look_waits_for_slow_images_and_not_where_the_header_says_that_all_are_there() -> None:
    slow = study(stack(pause_s=1.0))
    assert completed_by(slow, Known(2.9)) is None
    assert completed_by(slow, Known(3.0)) == EARLY
    assert completed_by(study(stack(pause_s=1.0, images_stated=30)), Known(0.0)) == EARLY


def test_first_looks_are_bounded_and_none_follows_a_whole_study() -> None:
    assert completed_by(study(stack(), first_looks=2), Known(2.0)) is None
    assert completed_by(study(stack(), completed=True), Known(2.0)) is None
    assert completed_by(study(stack()), Known(2.0), NO_LOOKS) is None
    seen = [replace(arrival, frozen=True) for arrival in stack()]
    assert completed_by(study(seen, first_looks=1), Known(2.0)) is None


def test_a_study_is_complete_soon_after_its_associations_were_released() -> None:
    facts = study([*stack(20), *stack(20, begin_s=10, on="b")])
    both = {"a": True, "b": True}
    # 8 s lay between the two.
    assert completed_by(facts, Known(15.9, 0, both), NO_LOOKS) is None
    assert completed_by(facts, Known(16.3, 0, both), NO_LOOKS) == "released"
    for lacking in ({}, {"a": True}, {"a": True, "b": False}):
        assert completed_by(facts, Known(16.3, 0, lacking), NO_LOOKS) is None


def test_a_study_is_not_cut_between_images_that_come_on_an_association_each() -> None:
    def sent(images: int) -> StudyArrivals:
        return study([image(n, 12.0 * n, on=f"a{n}", position_mm=None) for n in range(images)])

    released = {f"a{n}": True for n in range(30)}
    assert completed_by(sent(1), Known(12.0, 0, released)) is None
    assert completed_by(sent(2), Known(12.0, 0, released)) is None
    assert completed_by(sent(9), Known(12.0, 0, released)) is None
    assert completed_by(sent(9), Known(24.0, 0, released)) == "released"


def test_a_study_of_closed_series_is_complete_and_scouts_alone_are_not() -> None:
    assert completed_by(study(stack()), Known(4.9), NO_LOOKS) is None
    assert completed_by(study(stack()), Known(5.0), NO_LOOKS) == "closed"
    assert completed_by(study(stack(2)), Known(59.0), NO_LOOKS) is None
    open_one = [*stack(), *[image(n, series=2) for n in (0, 1, 3)]]
    assert completed_by(study(open_one, ArrivedSeries(2, "CT", "", "")), Known(59.0), NO_LOOKS) is None


def test_a_count_completes_a_study_and_a_higher_one_holds_it_until_it_is_quiet() -> None:
    assert completed_by(study(PARTS), Known(5.0, count=3), NO_LOOKS) == "counted"
    assert completed_by(study(PARTS, received=5), Known(5.0, count=4), NO_LOOKS) == "counted"
    assert completed_by(study(PARTS), Known(4.9, count=3), NO_LOOKS) is None
    held = study(stack())
    assert completed_by(held, Known(59.0, 0, {"a": True}, 31), NO_LOOKS) is None
    assert completed_by(held, Known(60.0, 0, {"a": True}, 31), NO_LOOKS) == "quiet"


def test_the_required_series_complete_a_study_though_another_is_open() -> None:
    rules = AssemblySettings(
        first_looks=0, required=(RequiredSeries(modality="CT", description="THIN"), RequiredSeries())
    )
    other = ArrivedSeries(2, "CT", "perfusion", "HEAD")
    arrivals = [*stack(), *[image(n, series=2) for n in (0, 1, 3)]]
    assert completed_by(study(arrivals, other), Known(5.0), rules) == "required"
    assert completed_by(study(arrivals[:10] + arrivals[11:], other), Known(50.0), rules) is None


def test_a_study_that_never_becomes_quiet_is_forced() -> None:
    facts = study([image(n, 50.0 * n, position_mm=None) for n in range(73)])
    assert completed_by(facts, Known(0.0), NO_LOOKS) == "force"
    assert completed_by(study([image(0), image(1, 3599.0)]), Known(0.9), NO_LOOKS) is None


# --- every order and every cut ---------------------------------------------------------------------------


@dataclass
class Ward:
    """A study in a virtual world: what came, which revisions were made of it. Time in seconds."""

    rules: AssemblySettings
    described: tuple[ArrivedSeries, ...]
    now_s: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    released: dict[str, bool] = field(default_factory=dict)
    made: list[tuple[str, frozenset[int]]] = field(default_factory=list)  # evidence, arrivals by number
    open: bool = False
    facts: StudyFacts | None = None  # as last read; None: they changed
    judged_s: float = -1.0

    def receive(self, arrival: Arrival) -> None:
        self.arrivals.append(replace(arrival, came_s=self.now_s))
        self.open, self.facts = True, None

    def read(self) -> StudyFacts:
        if self.facts is None:
            looks = sum(evidence == EARLY for evidence, _ in self.made)
            images, completed = tuple(self.arrivals), looks < len(self.made)
            known = StudyArrivals(1, "1.2", self.described, images, len(images), looks, completed)
            self.facts = study_facts(known)
        return self.facts

    def judge(self) -> None:
        """As the service does: every 0.25 s."""
        if not self.open or self.now_s - self.judged_s < 0.25:
            return
        self.judged_s = self.now_s
        known = Known(self.now_s - self.arrivals[-1].came_s, 0.0, self.released)
        decision = due(self.read(), known, self.rules)
        if decision is None:
            return
        early = decision.completed_by == EARLY
        chosen = {n for n, a in enumerate(self.arrivals) if not early or a.series_id in decision.series}
        self.arrivals = [replace(a, frozen=a.frozen or n in chosen) for n, a in enumerate(self.arrivals)]
        self.made.append((decision.completed_by, frozenset(chosen)))
        self.open, self.facts = early, None

    def pass_time(self, until_s: float) -> None:
        """Judge as time goes by, often at first and then less often."""
        begun_s = self.now_s
        for step_s in (0.25, 1.0, 1.25, 2.5, 5.0, 5.25, 10.5, 30.0, 60.0, 60.25):
            if begun_s + step_s < until_s:
                self.now_s = begun_s + step_s
                self.judge()
        self.now_s = until_s
        self.judge()


def _sent(chance: random.Random) -> tuple[tuple[ArrivedSeries, ...], list[list[Arrival]]]:
    """A study and the associations on which it is sent."""
    described, images = [], []
    for number in range(1, chance.randint(1, 3) + 1):
        body_part = chance.choice(("HEAD", "", "CHEST"))
        described.append(ArrivedSeries(number, chance.choice(("CT", "MR")), "", body_part))
        size = chance.choice((1, 2, 16, 17))
        stated = chance.choice((None, None, size, size + 3, 2 * size))
        echoes = chance.choice((1, 1, 2))
        own = [
            image(place, series=number, images_stated=stated) for place in range(size) for _ in range(echoes)
        ]
        if chance.random() < 0.3:
            del own[chance.randrange(len(own))]  # a scan that stopped, or a slice that is lost
        if chance.random() < 0.3:
            chance.shuffle(own)
        images.append(own or [image(0, series=number)])
    together = [arrival for own in images for arrival in own]
    if chance.random() < 0.3:
        chance.shuffle(together)
    cuts = sorted(chance.sample(range(1, len(together)), min(len(together) - 1, chance.choice((0, 1, 3)))))
    parts = [together[a:b] for a, b in zip([0, *cuts], [*cuts, len(together)], strict=True)]
    if chance.random() < 0.1:
        parts = [[arrival] for arrival in together]
    return tuple(described), parts


def _run(seed: int) -> Ward:
    """Send a study in an order and with cuts of chance, and wait until nothing more is due."""
    chance = random.Random(seed)
    described, parts = _sent(chance)
    ward = Ward(AssemblySettings(first_looks=chance.choice((0, 1, 2))), described)
    for number, part in enumerate(parts):
        name = f"a{number}"
        for arrival in part:
            ward.receive(replace(arrival, association_id=name))
            pause_s = chance.choice((0.02,) * 12 + (0.3, 1.5, 7.0))
            ward.pass_time(ward.now_s + pause_s)
        if chance.random() < 0.8:  # else its note is lost
            ward.released[name] = chance.random() < 0.9
        ward.pass_time(ward.now_s + chance.choice((0.0, 0.5, 4.0, 20.0, 90.0, 1200.0)))
    ward.pass_time(ward.now_s + 70.0)
    return ward


ORDERS = 5_000


def test_every_order_and_cut_ends_with_a_revision_of_all_and_a_bounded_number_of_first_looks() -> None:
    evidence: Counter[str] = Counter()
    for seed in range(ORDERS):
        ward = _run(seed)
        looks = sum(by == EARLY for by, _ in ward.made)
        by, manifest = ward.made[-1]
        assert not ward.open, seed
        assert by != EARLY, seed
        assert manifest == frozenset(range(len(ward.arrivals))), seed
        assert looks <= ward.rules.first_looks, seed
        evidence.update(by for by, _ in ward.made)
        # A late image makes the next revision, of all again.
        before = len(ward.made)
        ward.receive(image(99, series=ward.described[0].id, on="late"))
        ward.pass_time(ward.now_s + 70.0)
        assert len(ward.made) == before + 1, seed
        assert ward.made[-1][1] == frozenset(range(len(ward.arrivals))), seed
    assert {"early", "released", "closed", "quiet"} <= evidence.keys()


def test_images_that_come_without_end_are_forced_again_and_again() -> None:
    ward = Ward(NO_LOOKS, (HEAD,))
    for _ in range(400):
        ward.receive(image(0, position_mm=None))
        ward.pass_time(ward.now_s + 30.0)
    assert [by for by, _ in ward.made] == ["force"] * 3
