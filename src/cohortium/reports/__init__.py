"""What happened in a run, measured and made into one page.

    Measure, Observed            a figure with its interval; what really happened to the test patients
    discrimination, classification, calibration, survival_measures, continuous
                                 pure functions on arrays, one family of measures each
    resampling, paired, random_effects, recalibration
                                 intervals, tests between two models, pooling over sites, per-site repair
    panel                        `measure_all`: every measure of one model by the names of `run.json`
    comparison, site_matrix, fairness
                                 own model against swarm against pooled; model x test set; subgroups
    site_calibration, risk_groups   a site's repair before and after; survival by predicted risk
    record, scope, summary       `RunRecord` = `run.json`; who may see what of it; sentences and checks
    figures, glossary, sections, pages   inline SVG, the words, the one HTML file

Nothing here reads a file (but its own template), a socket or a clock, and nothing here decides a merge.
"""
