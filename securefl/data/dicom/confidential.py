"""Attributes in files that the basic confidentiality profile removes or replaces.

Source: DICOM PS3.15, Annex E, table E.1-1. The table goes by attribute. This list goes by kind, and
names rather more than the table than fewer: every person's name, date, time, private attribute and
long text, every UID that is of one object, and the attributes below.

It says what is there. It removes nothing, and it does not look at pixels.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from securefl.data.dicom.reading import careful, dataset, is_registered

# By value representation (PS3.5, 6.2).
KIND_OF_VR: Mapping[str, str] = {
    "PN": "names",
    **dict.fromkeys(("DA", "DT", "TM"), "dates"),
    **dict.fromkeys(("LT", "ST", "UT", "UC"), "free text"),
}
UID = "UIDs"
PRIVATE = "private"
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "identifiers": (
        *("PatientID", "OtherPatientIDs", "OtherPatientIDsSequence", "IssuerOfPatientID"),
        *("AccessionNumber", "StudyID", "AdmissionID", "IssuerOfAdmissionID", "ServiceEpisodeID"),
        *("MedicalRecordLocator", "InsurancePlanIdentification", "MilitaryRank"),
        *("BranchOfService", "RequestedProcedureID", "ScheduledProcedureStepID"),
        *("PerformedProcedureStepID", "PlacerOrderNumberImagingServiceRequest"),
        *("FillerOrderNumberImagingServiceRequest", "RequestAttributesSequence"),
        *("PatientInsurancePlanCodeSequence", "ReferencedPatientSequence", "BarcodeValue"),
        *("ContainerIdentifier", "SpecimenIdentifier", "SpecimenAccessionNumber"),
        *("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialSiteID"),
    ),
    "patient": (
        *("PatientAge", "PatientSex", "PatientSize", "PatientWeight", "EthnicGroup"),
        *("Occupation", "PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation"),
        *("CountryOfResidence", "RegionOfResidence", "PatientReligiousPreference"),
        *("PregnancyStatus", "SmokingStatus", "MedicalAlerts", "Allergies", "PatientState"),
        *("SpecialNeeds", "PatientSexNeutered", "PatientPrimaryLanguageCodeSequence"),
        *("ReasonForStudy", "AdmittingDiagnosesCodeSequence", "PreMedication"),
        *("CurrentPatientLocation", "PatientInstitutionResidence"),
    ),
    "institutions": (
        *("InstitutionName", "InstitutionCodeSequence", "InstitutionalDepartmentName"),
        *("ResponsibleOrganization", "RequestingService", "VerifyingOrganization"),
        *("CustodialOrganizationSequence", "ClinicalTrialSiteName", "AuthorObserverSequence"),
        *("ReferringPhysicianTelephoneNumbers", "PhysiciansOfRecordIdentificationSequence"),
        *("RequestedProcedureLocation", "ScheduledProcedureStepLocation"),
        *("PerformedLocation", "OrderCallbackPhoneNumber", "OrderEnteredBy"),
    ),
    "devices": (
        *("DeviceSerialNumber", "StationName", "PerformedStationName", "ScheduledStationName"),
        *("PerformedStationAETitle", "ScheduledStationAETitle", "RetrieveAETitle"),
        *("StationAETitle", "SourceApplicationEntityTitle", "SendingApplicationEntityTitle"),
        *("ReceivingApplicationEntityTitle", "SourcePresentationAddress", "CassetteID"),
        *("SendingPresentationAddress", "ReceivingPresentationAddress", "PlateID", "DetectorID"),
        *("GantryID", "GeneratorID", "XRaySourceID", "DeviceLabel", "LensSerialNumber"),
        *("SourceSerialNumber", "ManufacturerDeviceIdentifier", "UniqueDeviceIdentifier"),
        *("UDISequence", "MakerNote", "PerformedStationNameCodeSequence"),
    ),
    "free text": (
        *("StudyDescription", "SeriesDescription", "ProtocolName", "ContrastBolusAgent"),
        *("RequestedProcedureDescription", "PerformedProcedureStepDescription"),
        *("ScheduledProcedureStepDescription", "AdmittingDiagnosesDescription"),
        *(
            "ReasonForTheRequestedProcedure",
            "ServiceEpisodeDescription",
            "DeviceSettingDescription",
        ),
        *("ClinicalTrialProtocolName", "ClinicalTrialSeriesDescription", "ImageComments"),
        *("DigitalSignaturesSequence", "EncryptedAttributesSequence", "ContentSequence"),
        *("AcquisitionContextSequence", "GraphicAnnotationSequence", "OriginalAttributesSequence"),
        *("ModifiedAttributesSequence", "IconImageSequence", "AcquisitionProtocolDescription"),
    ),
}
_KIND_OF_KEYWORD = {name: kind for kind, names in KEYWORDS.items() for name in names}
# Repeating groups of curves and overlays (PS3.5, 7.6).
_CURVES = 0x5000
_OVERLAYS = 0x6000
_OVERLAY_DATA_AND_COMMENTS = (0x3000, 0x4000)
_REPEATING_MASK = 0xFF00
MAX_DEPTH = 16
# It names the software that wrote the file.
KEPT_UIDS = ("ImplementationClassUID",)
PREAMBLE = slice(0, 128)

Found = Counter[tuple[str, str]]


def confidential(content: bytes) -> set[tuple[str, str]]:
    """Returns kind and keyword of a file's attributes that the profile removes or replaces.

    No value is returned. A private attribute is named by its group alone.

    Raises:
        Flaw: the file is no DICOM file, or is damaged.
    """
    found = dataset(content, pixels=True)
    with careful("has a damaged header"):
        names = {*_walk(found.file_meta, MAX_DEPTH), *_walk(found, MAX_DEPTH)}
    # The standard asks for nothing in these bytes, so that they can hold anything.
    if any(content[PREAMBLE]):
        names.add(("preamble", "not zero"))
    return names


def kind_of(element: Any) -> str | None:
    """Returns the kind of a public attribute; None for one that the profile keeps."""
    repeating = element.tag.group & _REPEATING_MASK
    is_overlay = repeating == _OVERLAYS and element.tag.element in _OVERLAY_DATA_AND_COMMENTS
    if repeating == _CURVES:
        return "curves"
    if is_overlay:
        return "overlays"
    if element.VR == "UI":
        is_known = element.keyword in KEPT_UIDS or is_registered(element.value)
        return None if is_known else UID
    if element.keyword == "PrivateInformation":
        return PRIVATE
    return _KIND_OF_KEYWORD.get(element.keyword) or KIND_OF_VR.get(element.VR)


def in_words(found: Found, files: int) -> Iterator[str]:
    """Yields one line for each kind, with its attributes and the number of files that have them."""
    for kind in sorted({kind for kind, _ in found}):
        names = [
            f"{name} in {count}" for (other, name), count in sorted(found.items()) if other == kind
        ]
        yield f"{kind} in {files} files: {', '.join(names)}"


def _walk(found: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Yields the attributes of a data set and of the items of its sequences."""
    for tag in sorted(found.keys()):
        # What is private goes as a whole, and its values are not even read.
        if tag.is_private:
            yield PRIVATE, f"({tag.group:04x},...)"
            continue
        element = found[tag]
        kind = kind_of(element)
        if kind is not None:
            yield kind, element.keyword or str(tag)
        if element.VR == "SQ" and depth:
            for item in element.value:
                yield from _walk(item, depth - 1)
