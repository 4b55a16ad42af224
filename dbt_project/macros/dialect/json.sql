{# One row per entry of a JSON object of counts, as a struct of `key` and `value`. #}
{% macro json_counts(json_text) -%}
    {{ return(adapter.dispatch('json_counts', 'strata')(json_text)) }}
{%- endmacro %}

{% macro default__json_counts(json_text) -%}
    unnest(map_entries(cast(cast({{ json_text }} as json) as map(varchar, bigint))))
{%- endmacro %}

{% macro spark__json_counts(json_text) -%}
    explode(map_entries(from_json({{ json_text }}, 'map<string,bigint>')))
{%- endmacro %}
