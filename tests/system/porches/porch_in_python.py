"""A small porch that keeps its side of the contract, for scaling intents in direct mode."""

import json
import os
import sys

intent_file, out = sys.argv[2], sys.argv[4]
with open(intent_file, "rb") as file:
    intent = json.load(file)
if intent["intent_type"] != "scaling":
    print("only scaling is known here", file=sys.stderr)
    sys.exit(1)
folder = os.path.join(out, intent["namespace"], intent["target"])
os.makedirs(folder, exist_ok=True)
patch = os.path.join(folder, "scaling-patch.yaml")
with open(f"{patch}.new", "w") as file:
    file.write(f"spec:\n  replicas: {intent['replicas']}\n")
os.rename(f"{patch}.new", patch)
