{#
  One scan per table. `grain`: columns that are never null and unique together. `holds`: conditions by name, each true
  for every row (null counts as broken). `accepted`: values per column, null allowed. Each returned row names one broken rule.
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
with keys as (
    select
        count(*) as rows_n
        {%- for condition in rules.values() %},
        count(*) filter (where not coalesce({{ condition }}, false)) as broken_{{ loop.index }}
        {%- endfor %}
    from {{ model }}
    group by {{ grain | join(', ') }}
),

totals as (
    select
        sum(rows_n - 1) as repeated
        {%- for condition in rules.values() %},
        sum(broken_{{ loop.index }}) as broken_{{ loop.index }}
        {%- endfor %}
    from keys
)

select '{{ grain | join(", ") }} is not unique' as rule, repeated as rows_n from totals where repeated > 0
{%- for name in rules %}
union all
select '{{ name | replace("'", "''") }}' as rule, broken_{{ loop.index }} as rows_n from totals where broken_{{ loop.index }} > 0
{%- endfor %}
{% endtest %}
