"""Settings of TRExFitter: those that become part of a workspace, and what to do about others."""

import re

PARTS = ("Path", "File", "Name")
"""What leads to a histogram or to an ntuple."""

SIDES = ("Up", "Down")
"""Of a systematic uncertainty."""

_PLACES = {f"Histo{part}{end}" for part in PARTS for end in ("", "s", "Suff", "Suffs")}
_VARIED = {
    f"Histo{part}{end}{side}" for part in PARTS for end in ("", "s", "Suf") for side in SIDES
}


def _words(text: str) -> set[str]:
    return set(text.split())


KNOWN = {
    "Job": _words(
        "POI ReadFrom Lumi LumiScale StatOnly MCstatThreshold MCstatConstraint ReplacementFile "
        "MergeUnderOverFlow GuessMCStatEmptyBins HistoNameNominal SystPruningNorm SystPruningShape "
        "PruningType DecorrSysts DecorrSuff IntCodeOverall IntCodeShape"
    )
    | {place for place in _PLACES if "Suff" not in place},
    "Fit": _words("FitType FitRegion FitBlind POIAsimov FixNPs"),
    "Region": _words("Type Rebin Binning Rebinning DropBins") | _PLACES,
    "Sample": _words(
        "Type Title NormFactor ShapeFactor NormalizedByTheory Regions Exclude LumiScale LumiScales "
        "UseMCstat SeparateGammas UseSystematics"
    )
    | _PLACES,
    "NormFactor": _words(
        "Samples Regions Exclude Nominal Min Max Constant Title Category SubCategory"
    ),
    "ShapeFactor": _words("Samples Regions Exclude Title"),
    "Systematic": _words(
        "Samples Regions Exclude ExcludeRegionSample Type Title NuisanceParameter Category "
        "SubCategory OverallUp OverallDown ScaleUp ScaleDown Symmetrisation Smoothing PreSmoothing "
        "ReferenceSample KeepReferenceOverallVar SampleUp SampleDown Decorrelate DropNorm "
        "DropShapeIn"
    )
    | _VARIED,
}
"""Settings that are taken over, by kind of block."""

_ALIKE = "Write the histograms that it would make to a file, and name those."
REMEDIES = {
    "CustomAsimov": "Give the data as a sample, or take Workspace.asimov(...).",
    "AsimovReplacementFor": "Give the data as a sample, or take Workspace.with_data(...).",
    "DataType": "For a blind fit write FitBlind: TRUE, or take Workspace.asimov(...).",
    "NPValues": "Take Workspace.asimov({'mu': 1.0, 'NP': 1.0}).",
    "WorkspaceFileName": "Read the HistFactory XML of that workspace.",
    "InputFolder": "Name the histograms that TRExFitter wrote by HistoPath, HistoFile, HistoName.",
    "InputName": "Name the histograms that TRExFitter wrote by HistoPath, HistoFile, HistoName.",
    "CorrectNormForNegativeIntegral": "Leave out what expects fewer events than none.",
    "PruningShapeOption": "Shapes are pruned by their largest bin.",
    "ExcludeFromMorphing": "There is no morphing of templates.",
    "SmoothMorphingTemplates": "There is no morphing of templates.",
    "PropagateSystsForMorphing": "There is no morphing of templates.",
    "Morphing": "There is no morphing of templates. Fit each template, or make a patch set.",
    "Expression": "HistFactory multiplies factors. Name the factors that stand in it.",
    "Tau": "It is for unfolding.",
    "MultiplyBy": _ALIKE,
    "DivideBy": _ALIKE,
    "AddSample": _ALIKE,
    "AddSamples": _ALIKE,
    "SubtractSample": _ALIKE,
    "SubtractSamples": _ALIKE,
    "NormToSample": _ALIKE,
    "Smooth": "Smooth the nominal histogram, and name the smooth one.",
    "MCstatScale": "Scale the uncertainties of the histograms.",
    "CorrelateGammasInRegions": "Give shapesys modifiers one name: Workspace.rename(...).",
    "CorrelateGammasWithSample": "Give shapesys modifiers one name: Workspace.rename(...).",
    "SystFromSample": "Name the sample in Samples of those systematics.",
    "IsFreeParameter": "A factor without a constraint is a NormFactor.",
    "CombineName": "Give the combined variation as one systematic.",
    "CombineType": "Give the combined variation as one systematic.",
    "KeepNormForSamples": "Scale the varied histograms to the nominal yield.",
    "DummyForSamples": "A variation that is nominal has no effect: take the line out.",
    "ReferencePruning": "Take Workspace.prune(...).",
    "ReferenceSmoothing": "Take Workspace.smooth(...).",
    "SubtractRefSampleVar": _ALIKE,
    "DropNormSpecial": _ALIKE,
    "NoPruning": "Take Workspace.prune(...) in place of SystPruningNorm and SystPruningShape.",
    "ForceShape": _ALIKE,
}
"""What to do in place of settings that are not taken over."""

# Pictures, tables, and how fits are run and what is asked of them.
UNUSED = re.compile(
    r".*(Label|Title|Plot|Ymax|Ymin|Ratio|Canvas|Legend|Table|Color|Rounding|Ranking|Summary|Scan"
    r"|Toys|Minos|NonProfile|Ntuple|Warnings|Precision).*"
    r"|YaxisTitle|YmaxScale|LogScale|BinWidth|BinLabels|XaxisRange|Group|POIUnit|DebugLevel|Logo"
    r"|SystLarge|CorrelationThreshold|HistoChecks|SplitHistoFiles|BlindingThreshold|BlindingType"
    r"|KeepPrefitBlindedBins|ImageFormat|FixNPforStatOnly|OutputDir|KeepPruning|AtlasLabel"
    r"|RegionGroups|HideNP|UseGammaPulls|UseGammasForCorr|GetChi2|SystErrorBars|HEPDataFormat"
    r"|AllowWrongRegionSample|RunROOTMacros|PlotOptions.*|MCweight|Selection|Variable.*"
    r"|CustomFunctions|SkipSmoothing|SmoothingOption|StoredName|IgnoreSelection|IgnoreWeight"
    r"|NumCPU|GetGoodnessOfFit|SaturatedModel|StatOnlyFit|SetRandomInitial.*|MaxNtupleEvents"
    r"|doLHscan|do2DLHscan|LHscan.*|Weight.*|Bootstrap.*|TemplateInterpolationOption"
    r"|DoMergedPlot|DoSystNormalizationPlots|LumiLabel|CmeLabel|BlindedRegions|BlindedParameters"
    r"|(Save|Output)?Suffix"
)
"""Settings that change no likelihood."""


_NTUPLES = {f"Ntuple{part}{end}" for part in PARTS for end in ("", "s", "Suff", "Suffs")}
NTUPLE_KNOWN = {
    "Job": _words("POI ReadFrom MCweight Selection Lumi LumiScale ReplacementFile") | _NTUPLES,
    "Fit": set[str](),
    "Region": _words("Type Variable Binning Rebinning Selection MCweight"),
    "Sample": _words(
        "Type Title MCweight Selection LumiScale LumiScales NormalizedByTheory IgnoreWeight "
        "NormFactor"
    )
    | _NTUPLES,
    "NormFactor": _words("Samples Regions Exclude Nominal Min Max Constant Title"),
    "ShapeFactor": set[str](),
    "Systematic": _words(
        "Samples Regions Exclude ExcludeRegionSample Type Title NuisanceParameter OverallUp "
        "OverallDown Smoothing Symmetrisation WeightUp WeightDown WeightSufUp WeightSufDown"
    )
    | {f"Ntuple{p}{end}{side}" for p in PARTS for end in ("", "s", "Suf") for side in SIDES},
}
"""Settings that an analysis file takes over from a configuration that reads ntuples."""

NTUPLE_UNUSED = re.compile(
    UNUSED.pattern.replace("|Ntuple", "")
    .replace("|MCweight|Selection|Variable.*", "|VariableTitle")
    .replace("|IgnoreSelection|IgnoreWeight", "")
    .replace("|Weight.*|Bootstrap.*", "")
    + r"|Category|SubCategory|SystPruning.*|MCstat.*|Histo.*|IntCode.*"
)
"""Settings without a place in an analysis file: pictures, and how the fit is made."""
