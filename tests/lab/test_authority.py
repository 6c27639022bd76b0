import ssl

import pytest
from cryptography import x509

from cohortium.lab.authority import issue_all


@pytest.fixture
def folder(tmp_path):
    issue_all(tmp_path, sites=["bonn", "lund"])
    return tmp_path


def test_every_site_and_the_members_have_a_certificate_of_the_authority_and_private_keys(folder):
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    for name in ("member", "bonn", "lund"):
        made = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
        made.verify_directly_issued_by(ca)
        assert (folder / f"{name}.key").stat().st_mode & 0o077 == 0
    assert not (folder / "ca.key").exists(), "nobody can issue more"


def test_a_site_can_only_call_and_a_member_also_answer(folder):
    def usages(name):
        made = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
        found = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return {usage._name for usage in found}

    assert usages("bonn") == {"clientAuth"}
    assert usages("member") == {"clientAuth", "serverAuth"}
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "bonn.crt", folder / "bonn.key")
