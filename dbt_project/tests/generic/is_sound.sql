{#
  Two scans per table, the first of its keys alone. `grain`: columns that are never null and unique together. `holds`:
  conditions by name, each true for every row (null counts as broken). `accepted`: values per column, null allowed. Each
  returned row names one broken rule.
#}
{% test is_sound(model, grain, holds={}, accepted={}) %}
{%- set rules = {} -%}
{%- for column in grain -%}
    {%- do rules.update({column ~ " is null": column ~ " is not null"}) -%}
{%- endfor -%}
{%- for column, values in accepted.items() -%}
    {%- do rules.update({
        column ~ " has another value": column ~ " is null or " ~ column ~ " in ('" ~ values | join("', '") ~ "')"
    }) -%}
{%- endfor -%}
{%- for name, condition in holds.items() -%}
    {%- do rules.update({name ~ " does not hold": condition}) -%}
{%- endfor %}
-- Keys are long texts, so their hashes are grouped first; equal ones are looked at, and nearly always there are none.
with suspects as (
    select {{ row_hash(grain) }} as key_hash from {{ model }}
    group by {{ row_hash(grain) }}
    having count(*) > 1
),

repeated as (
    select sum(rows_n - 1) as rows_n
    from (
        select count(*) as rows_n from {{ model }}
        where {{ row_hash(grain) }} in (select key_hash from suspects)
        group by {{ grain | join(', ') }}
        having count(*) > 1
    ) as keys
),

-- Apart from the keys: a counter of each rule for each key would cost more than the keys themselves.
broken as (
    select
        {%- for condition in rules.values() %}
        count(*) filter (where not coalesce({{ condition }}, false)) as broken_{{ loop.index }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}
)

select '{{ grain | join(", ") }} is not unique' as rule, rows_n from repeated where rows_n > 0
{%- for name in rules %}
union all
select '{{ name | replace("'", "''") }}' as rule, broken_{{ loop.index }} as rows_n from broken where broken_{{ loop.index }} > 0
{%- endfor %}
{% endtest %}
