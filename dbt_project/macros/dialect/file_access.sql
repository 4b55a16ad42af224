{# What SQL may open, the home and the seeds (below the working directory where dbt is called by hand), and the memory it
   may take (pipeline/duck.py says how much). Run once, before anything else of a build. #}
{% macro limit_file_access() -%}
    {{ return(adapter.dispatch('limit_file_access', 'strata')()) }}
{%- endmacro %}

{% macro default__limit_file_access() -%}
    {%- if execute -%}
    {%- if env_var("STRATA_MEMORY_SETTINGS", "") %}
    {{ env_var("STRATA_MEMORY_SETTINGS") }};
    {% endif -%}
    set allowed_directories = ['{{ env_var("STRATA_HOME") | replace("'", "''") }}', '{{ env_var("STRATA_DBT_PROJECT", ".") | replace("'", "''") }}'];
    set enable_external_access = false
    {%- endif -%}
{%- endmacro %}

{# Spark reads what its cluster lets it read. #}
{% macro spark__limit_file_access() -%} {%- endmacro %}
