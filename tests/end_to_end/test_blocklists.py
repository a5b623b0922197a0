"""A night over a real site, part of which a list of the user's forbids."""

from __future__ import annotations

from tasks.demo_site import DemoSite
from tests.end_to_end.conftest import Household


def test_what_a_list_names_is_counted_and_never_fetched(household: Household, site: DemoSite) -> None:
    site.publish(40)
    household.night("--skip-training")
    known = [request.path for request in site.requests if request.path.startswith("/library/")]
    stored = household.stats()["documents"]["raw"]
    assert known and "blocklisted" not in household.stats()["urls"]

    # The list is new: what is known already, what is found from now on, and a second category beside it.
    category = household.data.parent / "ut1" / "library"
    category.mkdir(parents=True)
    (category / "urls").write_text("127.0.0.1/library\n")
    profile = household.profile.read_text()
    household.profile.write_text(
        profile.replace("[search]", '[search]\nrevisit_days = 0\nblocklists = ["ut1/library"]')
    )
    site.publish(100)
    asked = len(site.requests)
    record = household.night("--skip-training")
    paths = [request.path for request in site.requests[asked:]]
    assert paths and not any(path.startswith("/library/") for path in paths)
    stats = household.stats()
    assert stats["urls"]["blocklisted"] == record["stages"]["collect"]["counts"]["blocklisted"] > len(set(known))
    assert stats["documents"]["raw"] > stored, "the rest of the site is still collected"
    assert any("library/urls: 1 entries" in message for message in record["messages"])
    traced = household.run("trace", site.url + known[0])
    assert "blocklisted library/urls: 127.0.0.1/library" in traced.stdout

    # A list with an error stops the night before anything is asked, and says where.
    household.profile.write_text(profile.replace("[search]", '[search]\nblocklists = ["mine.txt"]'))
    (household.data.parent / "mine.txt").write_text("fine.example\nnot fine\n")
    asked = len(site.requests)
    done = household.run("--profile", str(household.profile))
    assert done.returncode == 2 and "mine.txt, line 2, 'not fine'" in done.stderr and len(site.requests) == asked
