// Starts Swagger UI; a file, because the site's policy allows no script in a page.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
