{#
  The sentence of a reason: the template of class_reasons with value_1 to value_5 for {1} to {5}. A figure that is missing
  leaves its mark standing, which a test finds.
#}
{% macro reason_text(language, templates='templates', reasons='reasons') -%}
    {%- set values = [] -%}
    {%- for k in range(1, 6) -%}
        {%- do values.append('coalesce(' ~ reasons ~ '.value_' ~ k ~ ", '{" ~ k ~ "}')") -%}
    {%- endfor -%}
    {{ fill_template(templates ~ '.template_' ~ language, values) }}
{%- endmacro %}

{# The same for machines: the code and its figures, separated by |. #}
{% macro reason_codes(reasons='reasons') -%}
    concat_ws('|', upper({{ reasons }}.reason_code)
        {%- for k in range(1, 6) %}, {{ reasons }}.value_{{ k }}{% endfor %})
{%- endmacro %}

{# A fraction in percent with one decimal, for sentences. #}
{% macro percent_text(share) -%}
    cast(cast(round(100 * {{ share }}, 1) as decimal(9, 1)) as varchar)
{%- endmacro %}
