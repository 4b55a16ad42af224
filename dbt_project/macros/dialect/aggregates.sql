{# Type-7 quantile. Always of a double: on a DECIMAL DuckDB truncates the result to the column's scale. #}
{% macro quantile(value, share) -%}
    percentile_cont({{ share }}) within group (order by cast({{ value }} as double))
{%- endmacro %}

{# One bit per small integer, to count the distinct ones of a group without a hash table. #}
{% macro bit_of(number) -%}
    {{ return(adapter.dispatch('bit_of', 'strata')(number)) }}
{%- endmacro %}

{% macro default__bit_of(number) -%} (cast(1 as bigint) << cast({{ number }} as integer)) {%- endmacro %}

{% macro spark__bit_of(number) -%} shiftleft(cast(1 as bigint), cast({{ number }} as int)) {%- endmacro %}

{# Fixed notation with two decimals, for texts that people read. #}
{% macro money_text(amount) -%}
    cast(cast({{ amount }} as decimal(18, 2)) as varchar)
{%- endmacro %}

{# 64 bits of several columns, nulls included: equal rows have equal ones. #}
{% macro row_hash(columns) -%}
    {{ return(adapter.dispatch('row_hash', 'strata')(columns)) }}
{%- endmacro %}

{% macro default__row_hash(columns) -%} hash({{ columns | join(', ') }}) {%- endmacro %}

{% macro spark__row_hash(columns) -%} xxhash64({{ columns | join(', ') }}) {%- endmacro %}
