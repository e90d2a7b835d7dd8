"""What the features are. For whoever reads the file: nothing of the generation is needed."""

MISSING = -999.0  # of a feature that two-jet events do not have

#: name -> (unit, definition, absolute step to which it is rounded; 0 for a whole number, None for relative rounding)
FEATURES: dict[str, tuple[str, str, float | None]] = {
    "lepton_pt": ("GeV", "transverse momentum of the lepton", None),
    "lepton_eta": ("", "its pseudorapidity", 2**-6),
    "lepton_charge": ("e", "its charge", 0),
    "met": ("GeV", "missing transverse momentum", None),
    "mtw": ("GeV", "transverse mass of lepton and missing momentum", None),
    "bjet_pt": ("GeV", "transverse momentum of the b jet: the tagged jet of highest pT", None),
    "bjet_eta": ("", "its pseudorapidity", 2**-6),
    "lightjet_pt": (
        "GeV",
        "transverse momentum of the light jet: the untagged jet of highest |eta|",
        None,
    ),
    "lightjet_abs_eta": ("", "its absolute pseudorapidity", 2**-6),
    "jet3_pt": (
        "GeV",
        "transverse momentum of the jet that is neither; -999 if there are two jets",
        None,
    ),
    "jet3_eta": ("", "its pseudorapidity; -999 if there are two jets", 2**-6),
    "n_jets": ("", "number of jets: 2 or 3", 0),
    "n_bjets": ("", "number of tagged jets: 1 or 2, less than n_jets", 0),
    "top_mass": ("GeV", "mass of lepton, neutrino and b jet", None),
    "top_pt": ("GeV", "their transverse momentum", None),
    "mass_lb": ("GeV", "mass of lepton and b jet", None),
    "mass_jb": ("GeV", "mass of light jet and b jet", None),
    "delta_r_lb": ("", "Delta R of lepton and b jet", 2**-6),
    "delta_eta_jb": ("", "|Delta eta| of light jet and b jet", 2**-6),
    "delta_eta_lj": ("", "|Delta eta| of lepton and light jet", 2**-6),
    "delta_phi_lmet": ("rad", "|Delta phi| of lepton and missing momentum", 2**-6),
    "delta_r_top_j": ("", "Delta R of reconstructed top and light jet", 2**-6),
    "cos_theta_star": ("", "cosine between lepton and light jet in the top rest frame", 2**-7),
    "cos_theta_w": (
        "",
        "cosine between lepton in the W rest frame and the W in the top rest frame",
        2**-7,
    ),
    "ht": (
        "GeV",
        "scalar sum of the transverse momenta of jets, lepton and missing momentum",
        None,
    ),
    "mass_total": ("GeV", "mass of jets, lepton and neutrino", None),
    "sphericity": (
        "",
        "3/2 (l2 + l3) of the momentum tensor of jets, lepton and neutrino, l1 > l2 > l3",
        2**-9,
    ),
    "aplanarity": ("", "3/2 l3 of that tensor", 2**-10),
    "fox_wolfram_1": ("", "first Fox-Wolfram moment of jets and lepton, over the zeroth", 2**-8),
    "fox_wolfram_2": ("", "second", 2**-8),
}
