{# P-07: the tier of a frequency or spend score; null: no purchase in the window. After a relation `policy`. #}
{% macro score_tier(score) -%}
    case
        when {{ score }} is null then 'no_purchase_in_window'
        when {{ score }} >= policy.tier_high_score_min then 'high'
        when {{ score }} >= policy.tier_mid_score_min then 'mid'
        else 'low'
    end
{%- endmacro %}

{# The same for frequency: a single purchase day is low whatever it scores. #}
{% macro frequency_tier(score, days) -%}
    case when {{ score }} is not null and {{ days }} = 1 then 'low' else {{ score_tier(score) }} end
{%- endmacro %}
