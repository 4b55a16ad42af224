{#
  S1-05: how many of the fields that policy requires of a profile are filled. `fields`: name of the field to the condition
  under which it is; `required` a relation of one row with a column of that name for each, from required_fields().
#}
{% macro filled_fields(fields, required) -%}
    {%- for field, condition in fields.items() %}
    case when {{ required }}.{{ field }} and ({{ condition }}) then 1 else 0 end{{ ' +' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# One row: of each field whether it is required on D, and how many are. After CTE `policy`. #}
{% macro required_fields(party_type, fields) -%}
    select
        {%- for field in fields %}
        coalesce(bool_or(profile_fields.field = '{{ field }}'), false) as {{ field }},
        {%- endfor %}
        count(profile_fields.field) as required_n
    from policy
    left join {{ ref('profile_fields') }} as profile_fields
        on profile_fields.party_type = '{{ party_type }}' and {{ is_in_force('profile_fields', 'policy.as_of_date') }}
{%- endmacro %}

{# How old somebody is on a day. Without the day of birth the younger of the two possible ages. #}
{% macro age_on(record, day) -%}
    extract(year from {{ day }}) - {{ record }}.birth_year - case
        when {{ record }}.birth_month_day <= {{ month_day(day) }} then 0 else 1
    end
{%- endmacro %}
