"""Sort a folder of images by score: python samples/inspect_folder.py BUNDLE FOLDER."""

from __future__ import annotations

import argparse

from patchcore_edge_runtime import Inspector, Verdict, open_source

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("bundle")
options.add_argument("folder")
asked = options.parse_args()

inspector = Inspector(asked.bundle)
scored = []
for frame in open_source(asked.folder):
    result = inspector.error_result(frame.error) if frame.image is None else inspector(frame.image)
    # What could not be scored has no number to sort by; it comes first.
    scored.append((result.verdict == Verdict.ERROR, result.pred_score, result.verdict, frame.name))
for _, score, verdict, name in sorted(scored, reverse=True):
    print(f"{score:10.3f}  {verdict:5}  {name}")
