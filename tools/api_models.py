"""Cut out of botocore's data what the functions need of it: `python -m tools.api_models`, after botocore was updated.

An operation is needed where the package names it, or a library that it hands its client to. Of each service stay these
operations with the shapes that they reach; of the endpoints the five services'. Documentation is left empty.
"""

import ast
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader

PACKAGE = Path(__file__).resolve().parents[1] / "layers/amtsbote/amtsbote"
TARGET = PACKAGE / "api_models.d"
SERVICES = ("dynamodb", "events", "s3", "secretsmanager", "sqs")
OF_LIBRARIES = {"head_bucket", "put_object", "create_multipart_upload", "upload_part", "complete_multipart_upload"}
"""What s3transfer calls when it uploads a file, and botocore when S3 says that a bucket is elsewhere."""
MODEL = "service-2"


def written(package: Path = PACKAGE) -> Mapping[Path, str]:
    """Return the files by their places in the folder, with their texts."""
    loader, named = Loader(), set(_names(package)) | OF_LIBRARIES
    models = {
        Path(service, loader.determine_latest_version(service, MODEL), f"{MODEL}.json"): _reduced(
            loader.load_service_model(service, MODEL), named
        )
        for service in SERVICES
    }
    found = models | {Path("endpoints.json"): _endpoints(loader.load_data("endpoints"))}
    return {
        path: json.dumps(content, separators=(",", ":"), ensure_ascii=False) + "\n" for path, content in found.items()
    }


def _names(package: Path) -> Iterator[str]:
    """Yield each attribute and each string in the package: every method of a client is one of them."""
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                yield node.attr
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def _reduced(model: Mapping[str, Any], named: set[str]) -> Mapping[str, Any]:
    operations = {name: each for name, each in model["operations"].items() if xform_name(name) in named}
    shapes = dict[str, Any]()
    for operation in operations.values():
        _reach(operation, model["shapes"], shapes)
    less: Mapping[str, Any] = _undocumented({**model, "operations": operations, "shapes": dict(sorted(shapes.items()))})
    return less


def _reach(node: Any, shapes: Mapping[str, Any], reached: dict[str, Any]) -> None:
    """Add every shape that a part of a model refers to."""
    if isinstance(node, list):
        for each in node:
            _reach(each, shapes, reached)
    elif isinstance(node, dict):
        name = node.get("shape")
        if isinstance(name, str) and name not in reached:
            reached[name] = shapes[name]
            _reach(shapes[name], shapes, reached)
        for each in node.values():
            _reach(each, shapes, reached)


def _undocumented(node: Any) -> Any:
    """Return a part of a model with its texts left empty: some readers want them to be there."""
    if isinstance(node, list):
        return [_undocumented(each) for each in node]
    if isinstance(node, dict):
        return {key: "" if _is_text(key, value) else _undocumented(value) for key, value in node.items()}
    return node


def _is_text(key: str, value: Any) -> bool:
    return key in ("documentation", "documentationUrl") and isinstance(value, str)


def _endpoints(everywhere: Mapping[str, Any]) -> Mapping[str, Any]:
    partitions = [
        part | {"services": {name: part["services"][name] for name in SERVICES if name in part["services"]}}
        for part in everywhere["partitions"]
    ]
    return {**everywhere, "partitions": partitions}


def main() -> None:
    """Write the folder anew."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for path, text in written().items():
        (TARGET / path).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / path).write_text(text, encoding="utf-8")
        print(f"{path}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
