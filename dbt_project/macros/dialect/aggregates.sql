{# Type-7 quantile. Always of a double: on a DECIMAL DuckDB truncates the result to the column's scale. #}
{% macro quantile(value, share) -%}
    percentile_cont({{ share }}) within group (order by cast({{ value }} as double))
{%- endmacro %}

{# The same of the rows up to this one, in the order given. Nulls do not count. #}
{% macro running_median(value, partition, order) -%}
    {{ return(adapter.dispatch('running_median', 'strata')(value, partition, order)) }}
{%- endmacro %}

{% macro default__running_median(value, partition, order) -%}
    quantile_cont(cast({{ value }} as double), 0.5) over (
        partition by {{ partition }} order by {{ order }} rows between unbounded preceding and current row
    )
{%- endmacro %}

{% macro spark__running_median(value, partition, order) -%}
    percentile(cast({{ value }} as double), 0.5) over (
        partition by {{ partition }} order by {{ order }} rows between unbounded preceding and current row
    )
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

{# Exclusive or of several such hashes, none of them null: equal sets of rows have equal ones, in any order. #}
{% macro xor_of(hashes) -%}
    {{ return(adapter.dispatch('xor_of', 'strata')(hashes)) }}
{%- endmacro %}

{% macro default__xor_of(hashes) -%}
    {%- set text = namespace(sql=hashes[0]) -%}
    {%- for one in hashes[1:] -%}
        {%- set text.sql = 'xor(' ~ text.sql ~ ', ' ~ one ~ ')' -%}
    {%- endfor -%}
    {{ text.sql }}
{%- endmacro %}

{% macro spark__xor_of(hashes) -%} {{ hashes | join(' ^ ') }} {%- endmacro %}
