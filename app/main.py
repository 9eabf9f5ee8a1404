"""Assembles the application: `uvicorn app.main:app` serves it."""

from typing import Any

from fastapi import FastAPI

from app.config import Settings, load_settings
from app.errors import Problem, ValidationProblem, add_error_handlers
from app.events.router import batch_router as event_batch_router
from app.events.router import router as event_router
from app.files.router import router as file_router
from app.http.middleware import RequestContext
from app.lifespan import create_lifespan
from app.operations.router import router as operations_router

TAGS = [
    {"name": "events", "description": "Record what happened to a file, and read it back."},
    {"name": "files", "description": "Files as the processed events tell them."},
    {"name": "operations", "description": "What this service is and how it is."},
]


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Nothing is opened before its lifespan begins."""
    app = FastAPI(
        title=settings.api_title,
        version=settings.api_version,
        description=settings.api_description,
        lifespan=create_lifespan(settings),
        openapi_tags=TAGS,
        separate_input_output_schemas=False,
    )
    add_error_handlers(app)
    app.add_middleware(RequestContext)
    app.include_router(operations_router)
    app.include_router(event_batch_router)
    app.include_router(event_router)
    app.include_router(file_router)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Add the problem documents, which handlers render outside FastAPI's models, to the OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schema = ValidationProblem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document["components"]["schemas"]
        schemas.update(schema.pop("$defs"))
        schemas["ValidationProblem"] = schema
        schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way of extending OpenAPI


app = create_app(load_settings())
