from dataclasses import replace

from cohortium.reports.patient_sections import PatientSections
from cohortium.reports.record import Flow, Presence
from cohortium.reports.scope import scoped


def test_patients_are_counted_from_file_to_part(heart_record):
    patients = PatientSections(heart_record)
    assert patients.flow_table().columns[:2] == ("Site", "Read")
    assert patients.flow_table().columns[-4:] == ("Training", "Calibration", "Test", "With the outcome")
    assert "Records of all sites" in patients.flow_figure().html
    assert patients.missing() is not None


def test_a_record_without_patients_shows_none(small_record):
    patients = PatientSections(replace(small_record, flow={}))
    assert patients.flow_table() is patients.flow_figure() is patients.missing() is patients.presence_table() is None


def test_withheld_counts_are_said_and_not_drawn(heart_record):
    patients = PatientSections(scoped(heart_record, "consortium"))
    assert patients.flow_figure() is None
    assert patients.missing() is None
    assert patients.presence_table() is not None
    cells = [cell for row in patients.flow_table().rows for cell in row]
    assert "withheld" in cells
    assert "<5" in cells


def test_presence_is_said_in_words(small_record):
    presence = Presence(features=("age", "chol"), missing={"bonn": (0.0, None)}, word={"bonn": ("present", "absent")})
    patients = PatientSections(replace(small_record, presence=presence))
    assert patients.presence_table().rows == (("chol", "absent"),)


def test_a_generator_has_a_reserve_and_no_calibration_part(generator_record):
    flow = {"bonn": Flow(read=90, train=72, calibration=0, test=18, positive=48)}
    patients = PatientSections(replace(generator_record, flow=flow))
    assert patients.flow_table().columns == ("Site", "Read", "Training", "Reserve", "With the outcome")
    assert patients.flow_table().rows == (("bonn", "90", "72", "18", "48 (53 %)"),)
    drawn = patients.flow_figure().html
    assert "Records of bonn: 90 read, 18 in the reserve part." in drawn
    assert "in the training part: 72" in drawn
    assert "left out, training" not in drawn
