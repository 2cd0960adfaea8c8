"""The software bill of materials (CycloneDX): ``python -m deploy.sbom FILE``."""

import importlib.metadata
import sys
import uuid
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from deploy.components import LOCK, Package, Weights, packages, weights

_NAME: Final = "neurotriage"


def bill() -> Bom:
    """What an installation with its own servers is made of. The same lock gives the same components."""
    ours = Component(
        type=ComponentType.APPLICATION,
        name=_NAME,
        version=importlib.metadata.version(_NAME),
        bom_ref=_NAME,
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    parts = [*map(_package, packages()), *map(_model, weights())]
    bom = Bom(
        components=parts, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, LOCK.read_text(encoding="utf-8"))
    )
    bom.metadata.component = ours
    bom.register_dependency(ours, parts)
    return bom


def _package(package: Package) -> Component:
    url = PackageURL("pypi", name=package.name, version=package.version)
    licences = [LicenseFactory().make_from_string(package.licence)] if package.licence else []
    # The files of an index differ by platform: which of them was installed is not known here.
    hashes = [Property(name="neurotriage:sha256", value=digest) for digest in package.sha256]
    marker = [Property(name="neurotriage:marker", value=package.marker)] if package.marker else []
    page = (
        [ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(package.page))]
        if package.page
        else []
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=url,
        bom_ref=url.to_string(),
        licenses=licences,
        properties=[*marker, *hashes],
        external_references=page,
    )


def _model(model: Weights) -> Component:
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=model.name,
        version=model.version,
        bom_ref=f"weights/{model.name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model.sha256)],
        licenses=[LicenseFactory().make_with_name("research only, non-commercial; see weights/README.md")],
    )


def as_json() -> str:
    """The bill as CycloneDX 1.6."""
    return str(JsonV1Dot6(bill()).output_as_string(indent=2))


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_json() + "\n", encoding="utf-8")
