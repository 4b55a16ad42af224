{# M-06: why a customer's repeat behaviour is or is not that of a loyal one; the first condition that fails. After a relation `policy`. #}
{% macro repeat_reason(facts) -%}
    case
        when {{ facts }}.purchase_days_n = 0 then 'never_bought'
        when {{ facts }}.stage = 'churned' then 'churned'
        when {{ facts }}.stage = 'declining' then 'declining'
        when {{ facts }}.f365 < policy.loyalty_frequency_min then 'too_few_purchases'
        when {{ facts }}.quarters_365 < policy.loyalty_quarters_min then 'one_quarter'
        when {{ facts }}.recency_days > policy.loyalty_recency_factor * {{ facts }}.expected_gap then 'overdue'
        else 'repeats'
    end
{%- endmacro %}

{% macro loyalty_class(judged) -%}
    case
        when {{ judged }}.stage = 'churned' then 'churned'
        when {{ judged }}.repeat_reason = 'repeats' and not {{ judged }}.is_detractor then 'loyal'
        else 'potential'
    end
{%- endmacro %}

{% macro behaviour_class(judged) -%}
    case
        when {{ judged }}.purchase_days_n = 0 then 'potential'
        when {{ judged }}.stage = 'churned' then 'lapsed'
        when {{ judged }}.repeat_reason = 'repeats' and not {{ judged }}.is_detractor then 'loyal'
        else 'unstable'
    end
{%- endmacro %}

{# S2-01: the need of a buyer by how many of frequency and spend score high. After a relation `policy`. #}
{% macro high_scores_n(frequency_score, monetary_score) -%}
    case when {{ frequency_score }} >= policy.need_high_score_min then 1 else 0 end
        + case when {{ monetary_score }} >= policy.need_high_score_min then 1 else 0 end
{%- endmacro %}

{% macro need_of_high_scores(high_n) -%} case ({{ high_n }}) when 2 then 'core' when 1 then 'regular' else 'basic' end {%- endmacro %}

{# S2-07: the class of orders counted by side. After a relation `policy`. #}
{% macro channel_class(orders_n, online_n, offline_n) -%}
    case
        when {{ orders_n }} = 0 then 'no_purchase_in_window'
        when {{ online_n }} + {{ offline_n }} = 0
            or cast({{ online_n }} + {{ offline_n }} as double) < policy.channel_known_share_min * {{ orders_n }} then 'unknown'
        when least({{ online_n }}, {{ offline_n }}) >= policy.channel_mixed_share_min * ({{ online_n }} + {{ offline_n }})
            then 'mixed'
        when {{ online_n }} > {{ offline_n }} then 'online'
        else 'offline'
    end
{%- endmacro %}
