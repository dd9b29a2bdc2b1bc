"""The report in a real browser: opened offline, read on a telephone, without one request or complaint."""

import html
import json
import os
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTH = 380
POLICY = "default-src 'none'"
PROBE = """
<script>
addEventListener("load", () => parent.postMessage(JSON.stringify({
  width: innerWidth,
  scrolls: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  requests: performance.getEntriesByType("resource").map(entry => entry.name),
  text: document.body.innerText,
}), "*"));
</script>
"""
"""Added to a copy of the page: what only a browser that has laid it out can tell."""

FRAME = f"""
<iframe width="{WIDTH}" height="800" style="border:0"></iframe>
<pre></pre>
<script>
addEventListener("message", event => {{ document.querySelector("pre").textContent = event.data; }});
document.querySelector("iframe").src = "report.html";
</script>
"""
"""A frame as wide as a telephone: a headless window itself cannot be made narrower than 500 points."""


@pytest.fixture(scope="module")
def browser():
    """The first browser that is installed, or a skip."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    return found


def opened(browser, folder):
    """What the report in a folder tells once it is loaded, and the browser's own log."""
    outer = folder / "frame.html"
    outer.write_text(FRAME, encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    options += ["--no-first-run", "--disable-background-networking", "--disable-extensions", "--window-size=800,900"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000", "--dump-dom"]
    command = [browser, *options, f"--user-data-dir={folder / 'profile'}", outer.as_uri()]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    told = re.search(r"<pre>(.+)</pre>", done.stdout, flags=re.DOTALL)
    assert told, f"the page told nothing: {done.stdout[:500]} {done.stderr[-500:]}"
    return json.loads(html.unescape(told[1])), done.stderr


def test_the_report_opens_offline_and_fits_a_telephone(browser, compared, tmp_path):
    page = (compared.folder / "report.html").read_text(encoding="utf-8")
    assert page.count(POLICY) == 1  # the page itself forbids every request
    probed = page.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'").replace("</body>", PROBE + "</body>")
    (tmp_path / "report.html").write_text(probed, encoding="utf-8")
    told, log = opened(browser, tmp_path)
    assert told["width"] == WIDTH
    assert told["scrolls"] == 0
    assert told["requests"] == []
    assert "CONSOLE" not in log, log
    record = json.loads((compared.folder / "recommendation.json").read_text(encoding="utf-8"))
    for sentence in record["recommendation"]["in_short"]:
        assert " ".join(sentence.split()) in " ".join(told["text"].split())


def test_what_a_page_asks_of_the_network_or_gets_wrong_would_be_seen(browser, tmp_path):
    wrong = '<body style="width:900px">x<img src="https://example.invalid/a.png"><script>nowhere()</script></body>'
    (tmp_path / "report.html").write_text(wrong.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    told, log = opened(browser, tmp_path)
    assert told["scrolls"] > 0
    assert told["requests"] == ["https://example.invalid/a.png"]
    assert "CONSOLE" in log
