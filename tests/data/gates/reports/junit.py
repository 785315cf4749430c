"""Reads a JUnit file by a real parser and holds it against the common schema (junit-10.xsd)."""
import sys
import xml.etree.ElementTree as tree

ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
    "testcase": {"name", "assertions", "time", "classname", "status"},
    "skipped": {"message", "type"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"skipped", "failure", "error", "system-out"},
}


def check(element):
    assert set(element.attrib) <= ATTRIBUTES[element.tag], (element.tag, element.attrib)
    for child in element:
        assert child.tag in CHILDREN.get(element.tag, set()), (element.tag, child.tag)
        check(child)


def count(suite, tag):
    return sum(1 for case in suite for child in case if child.tag == tag)


root = tree.parse(sys.argv[1]).getroot()
assert root.tag == "testsuites"
check(root)
suites = list(root)
assert suites, "a report has a suite"
for suite in suites:
    assert int(suite.get("tests")) == len(suite)
    for attribute, tag in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]:
        assert int(suite.get(attribute)) == count(suite, tag), (suite.get("name"), attribute)
for attribute in ["tests", "failures", "errors"]:
    assert int(root.get(attribute)) == sum(int(suite.get(attribute)) for suite in suites), attribute
for case in root.iter("testcase"):
    assert case.get("name") and case.get("classname")
