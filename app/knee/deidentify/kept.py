"""What of a DICOM file is kept; everything else goes.

A list of what may stay cannot overlook what a scanner of tomorrow writes. It was made from the modules that describe
an MR image (DICOM PS3.3: C.7.6.1-3, C.7.6.16, C.8.3, C.8.13) less everything that PS3.15, table E.1-1, names for its
Basic Application Level Confidentiality Profile: names, numbers, dates, places, people, devices, descriptions. Its UIDs
(action U) are replaced. Numbers, codes and UIDs are left, and the maker's name and model, which the profile keeps.
"""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword

UIDS = "SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID DimensionOrganizationUID"

KEPT = f"""
{UIDS}
SOPClassUID Modality ImageType Manufacturer ManufacturerModelName BodyPartExamined Laterality ImageLaterality

ScanningSequence SequenceVariant ScanOptions MRAcquisitionType AngioFlag SliceThickness RepetitionTime EchoTime
InversionTime NumberOfAverages ImagingFrequency ImagedNucleus EchoNumbers MagneticFieldStrength SpacingBetweenSlices
NumberOfPhaseEncodingSteps EchoTrainLength PercentSampling PercentPhaseFieldOfView PixelBandwidth TriggerTime
ReconstructionDiameter AcquisitionMatrix InPlanePhaseEncodingDirection FlipAngle VariableFlipAngleFlag SAR dBdt
PatientPosition

SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient SliceLocation
TemporalPositionIdentifier NumberOfTemporalPositions ImagesInAcquisition

SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames FrameIncrementPointer Rows Columns
PixelSpacing PixelAspectRatio BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue
LargestImagePixelValue PixelPaddingValue PixelPaddingRangeLimit WindowCenter WindowWidth RescaleIntercept RescaleSlope
BurnedInAnnotation LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod
ExtendedOffsetTable ExtendedOffsetTableLengths

SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PixelMeasuresSequence PlanePositionSequence
PlaneOrientationSequence PixelValueTransformationSequence FrameVOILUTSequence
FrameContentSequence InStackPositionNumber TemporalPositionIndex DimensionIndexValues FrameAcquisitionNumber
DimensionOrganizationSequence DimensionIndexSequence DimensionIndexPointer FunctionalGroupPointer
DimensionOrganizationType
MRImageFrameTypeSequence FrameType PixelPresentation VolumetricProperties VolumeBasedCalculationTechnique
ComplexImageComponent AcquisitionContrast
MRTimingAndRelatedParametersSequence MREchoSequence EffectiveEchoTime MRFOVGeometrySequence
MRAcquisitionFrequencyEncodingSteps MRAcquisitionPhaseEncodingStepsInPlane MRAcquisitionPhaseEncodingStepsOutOfPlane
MRAveragesSequence MRModifierSequence MRImagingModifierSequence
"""


def _tags(words: str) -> frozenset[int]:
    found = {word: tag_for_keyword(word) for word in words.split()}
    unknown = [word for word, tag in found.items() if tag is None]
    if unknown:
        raise ValueError(f"the DICOM dictionary does not know {', '.join(unknown)}")
    return frozenset(tag for tag in found.values() if tag is not None)


KEPT_TAGS = _tags(KEPT)
REPLACED_TAGS = _tags(UIDS)

# The T2 of a GE qDESS scan hangs on the spoiler's area and duration, two numbers that GE writes as private elements.
# They are kept where GE's mark is there and they are numbers; PS3.15 E.3.10 allows what is known to be safe.
PRIVATE_MARK = (0x00190010, "GEMS_ACQU_01")
PRIVATE_NUMBERS = (0x001910B6, 0x001910B7)
