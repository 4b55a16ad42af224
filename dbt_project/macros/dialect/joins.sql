{#
  The key of a left join that may find a partner only where `condition`, of the left side alone, holds. Written as a further
  condition of the join, it makes DuckDB compare every row with every other; as part of the key the join stays a hash join.
#}
{% macro key_where(condition, key) -%}
    case when {{ condition }} then {{ key }} end
{%- endmacro %}

{# The last day of a period that has not ended, so that a join on periods compares and does not ask for null. #}
{% macro last_day_or_never(day) -%}
    coalesce({{ day }}, cast('9999-12-31' as date))
{%- endmacro %}
