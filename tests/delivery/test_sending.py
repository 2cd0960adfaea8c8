"""What waits is sent: once, whole, and in a form that the destination takes."""

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless
from pynetdicom import evt
from sqlalchemy import text

from neurotriage.demo.pacs import StandInPacs
from tests.delivery.conftest import Site, listener, result


def test_what_waits_is_stored_once_and_as_it_was_made(site: Site, pacs: StandInPacs) -> None:
    site.results(1, 2)
    assert site.deliver() == 2
    assert site.states() == [("stored", 1, "stored")] * 2
    assert list(pacs.received()) == ["2.25.1", "2.25.2"]
    assert dcmread(pacs.received()["2.25.1"]) == result(1)
    assert site.deliver() == 0
    assert pacs.stores == 2


def test_a_pacs_that_takes_implicit_vr_only_gets_the_same_in_implicit_vr(site: Site) -> None:
    stored: list[Dataset] = []

    def keeps(event: evt.Event) -> int:
        stored.append(event.dataset)
        return 0x0000

    with listener(keeps, syntaxes=[ImplicitVRLittleEndian]) as port:
        site.destination("pacs", port)
        site.results(1)
        assert site.deliver() == 1
    assert stored == [result(1)]


def test_a_pacs_that_takes_our_class_compressed_only_says_so(site: Site) -> None:
    with listener(syntaxes=[JPEG2000Lossless]) as port:
        site.destination("pacs", port)
        site.results(1)
        assert site.deliver() == 0
    assert site.states() == [
        ("refused", 1, "refused at negotiation: uncompressed transfer syntaxes not supported")
    ]


def test_a_pacs_that_does_not_take_jpeg_ls_gets_pictures_as_they_are(site: Site) -> None:
    stored: list[Dataset] = []

    def keeps(event: evt.Event) -> int:
        stored.append(event.dataset)
        return 0x0000

    with listener(keeps) as port:
        site.destination("pacs", port, compression="jpeg-ls")
        site.results(1)
        assert site.deliver() == 1
    assert stored == [result(1)]


def test_a_picture_that_is_not_understood_compressed_is_sent_once_more_as_it_is(site: Site) -> None:
    tried: list[str] = []

    def understands_plain_ones(event: evt.Event) -> int:
        tried.append(str(event.context.transfer_syntax))
        return 0xC000 if tried[-1] == JPEGLSLossless else 0x0000

    with listener(understands_plain_ones, syntaxes=[JPEGLSLossless, ExplicitVRLittleEndian]) as port:
        site.destination("pacs", port, compression="jpeg-ls")
        site.results(1, picture=True)
        assert site.deliver() == 1
    assert tried == [JPEGLSLossless, ExplicitVRLittleEndian]


def test_a_picture_that_cannot_be_compressed_is_sent_as_it_is_with_all_others(site: Site) -> None:
    stored: list[str] = []

    def keeps(event: evt.Event) -> int:
        stored.append(str(event.context.transfer_syntax))
        return 0x0000

    with listener(keeps, syntaxes=[JPEGLSLossless, ExplicitVRLittleEndian]) as port:
        site.destination("pacs", port, compression="jpeg-ls")
        site.results(1)  # without pixels no encoder can do anything
        site.results(2, study="1.2.4", picture=True)
        assert site.deliver() == 2
    assert stored == [ExplicitVRLittleEndian, JPEGLSLossless]


def test_a_picture_that_cannot_be_compressed_as_it_has_to_be_is_refused_with_a_sentence(site: Site) -> None:
    with listener(syntaxes=[JPEGLSLossless]) as port:
        site.destination("pacs", port, compression="jpeg-ls")
        site.results(1)
        site.results(2, study="1.2.4", picture=True)
        assert site.deliver() == 1
    assert site.states() == [
        ("refused", 1, "it cannot be compressed, and is not taken uncompressed"),
        ("stored", 1, "stored"),
    ]


def test_a_study_is_one_association(site: Site) -> None:
    requested: list[evt.Event] = []
    with listener(on_requested=requested.append) as port:
        site.destination("pacs", port)
        site.results(1, 2, 3)
        site.results(4, 5, study="1.2.4")
        assert site.deliver() == 5
    assert len(requested) == 2


def test_a_destination_that_the_configuration_does_not_know_changes_nothing(site: Site) -> None:
    site.results(1)
    assert site.deliver("pacs") == 0
    assert site.states() == [("waiting", 0, "")]


def test_each_end_of_a_delivery_is_an_event(site: Site, pacs: StandInPacs) -> None:
    site.results(1)
    site.deliver()
    with site.engine.begin() as connection:
        detail = connection.execute(text("select detail from events where kind = 'stored'")).scalar_one()
    assert detail == {"destination": "pacs", "sop_instance_uid": "2.25.1"}
    assert pacs.stores == 1
